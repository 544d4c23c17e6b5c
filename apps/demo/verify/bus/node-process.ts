import { fork, type ChildProcess } from 'node:child_process'
import { openSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { EverwireError, type ErrorCode, type Position } from '@everwire/core'
import { outputFolder } from '../support/output-folder.js'
import type { Random } from '../support/random.js'
import type { NodeAnswer, NodeSettings } from './node-settings.js'

/** One Everwire server, through deaths and starts, always on the same port. */
export interface NodeProcess {
  readonly name: string
  /** What clients connect to. */
  readonly url: string
  /** Resolves once it serves. */
  start(): Promise<void>
  /** SIGKILL. Resolves once it is dead. */
  kill(): Promise<void>
  /** Publishes from within the server. Rejects with its EverwireError. */
  publish(channel: string, event: string, data: unknown): Promise<Position | undefined>
}

const program = fileURLToPath(new URL('node.ts', import.meta.url))
const startMs = 30_000
const logs = `${outputFolder}bus/`
// Below the ports that systems hand to outgoing connections, or a client that looks for a dead server could get its port.
const ports = { lowest: 15_000, highest: 32_000 }
const mostAttempts = 20

/** Starts a node, on a port that is free. */
export async function startNode(
  name: string,
  random: Random,
  settings: Omit<NodeSettings, 'port'>,
): Promise<NodeProcess> {
  await mkdir(logs, { recursive: true })
  for (let attempt = 1; ; attempt++) {
    const port = Math.floor(random.between(ports.lowest, ports.highest))
    if (!(await isFree(port))) continue
    const node = createNode(name, { ...settings, port })
    try {
      await node.start()
      return node
    } catch (error) {
      if ((error as { code?: string }).code !== 'EADDRINUSE' || attempt === mostAttempts) throw error
    }
  }
}

function createNode(name: string, settings: NodeSettings): NodeProcess {
  let child: ChildProcess | undefined
  let requests = 0
  const waiting = new Map<
    number,
    { resolve(position: Position | undefined): void; reject(error: Error): void }
  >()

  const answered = (answer: NodeAnswer) => {
    if (answer.kind !== 'published' && answer.kind !== 'refused') return
    const request = waiting.get(answer.id)
    waiting.delete(answer.id)
    if (answer.kind === 'published') request?.resolve(answer.position)
    else request?.reject(new EverwireError(answer.code as ErrorCode))
  }

  return {
    name,
    url: `http://127.0.0.1:${settings.port}/everwire`,
    start: () =>
      new Promise((resolve, reject) => {
        const log = openSync(`${logs}${name}.log`, 'a')
        // The conditions and loaders of this process are handed on.
        const started = fork(program, [JSON.stringify(settings)], { stdio: ['ignore', log, log, 'ipc'] })
        child = started
        const cancel = setTimeout(
          () => fail(new Error(`${name} did not start within ${startMs} ms`)),
          startMs,
        )
        const fail = (error: Error) => {
          clearTimeout(cancel)
          started.kill('SIGKILL')
          reject(error)
        }
        started.on('message', (answer: NodeAnswer) => {
          answered(answer)
          if (answer.kind === 'failed')
            fail(Object.assign(new Error(`${name}: ${answer.message}`), { code: answer.code }))
          if (answer.kind !== 'ready') return
          clearTimeout(cancel)
          resolve()
        })
        started.on('error', fail)
        started.on('exit', (code, signal) => {
          fail(new Error(`${name} ended: ${signal ?? code}; see .verify/bus/${name}.log`))
          for (const { reject } of waiting.values())
            reject(new EverwireError('outcome-unknown', 'the node died'))
          waiting.clear()
        })
      }),
    kill: () =>
      new Promise((resolve) => {
        if (!child || child.exitCode !== null || child.signalCode !== null) return resolve()
        child.once('exit', () => resolve())
        child.kill('SIGKILL')
      }),
    publish: (channel, event, data) =>
      new Promise((resolve, reject) => {
        const id = ++requests
        waiting.set(id, { resolve, reject })
        child!.send({ id, channel, event, data })
      }),
  }
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
