import { fork, type ChildProcess } from 'node:child_process'
import { openSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { EverwireError, type ErrorCode, type Position } from '@everwire/core'
import { outputFolder } from '../output-folder.js'
import type { Random } from '../random.js'
import { readMetrics, type Metrics } from './metrics.js'
import type { Drained, NodeMessage, NodeQuestions, NodeRequest, NodeSettings } from './node-settings.js'

/** One Everwire server, through deaths and starts, always on the same port. */
export interface NodeProcess {
  readonly name: string
  /** Its name on the bus and in session ids; another one after each start. */
  readonly nodeId: string
  /** What clients connect to. */
  readonly url: string
  /** What load balancers connect to: host and port. */
  readonly address: string
  /** It serves, and nobody has told it to close. */
  readonly running: boolean
  /** Resolves once it serves. */
  start(): Promise<void>
  /** SIGKILL. Resolves once it is dead. */
  kill(): Promise<void>
  /** Hands its sessions over to other nodes. */
  drain(): Promise<Drained>
  /** Closes it in an orderly way. Resolves once the process has ended. */
  close(): Promise<void>
  /** Publishes from within the server. Rejects with its EverwireError. */
  publish(channel: string, event: string, data: unknown): Promise<Position | undefined>
  metrics(): Promise<Metrics>
  /** Milliseconds of a processor that it used so far. */
  cpu(): Promise<number>
}

const program = fileURLToPath(new URL('node.ts', import.meta.url))
const startMs = 30_000
const logs = `${outputFolder}nodes/`
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

interface Waiting {
  resolve(answer: unknown): void
  reject(error: Error): void
}

function createNode(name: string, settings: NodeSettings): NodeProcess {
  let child: ChildProcess | undefined
  let nodeId = ''
  let requests = 0
  let closing = false
  const waiting = new Map<number, Waiting>()

  const isRunning = () => child !== undefined && child.exitCode === null && child.signalCode === null

  const answered = (message: NodeMessage) => {
    if (message.kind !== 'answered' && message.kind !== 'refused') return
    const request = waiting.get(message.id)
    waiting.delete(message.id)
    if (message.kind === 'answered') request?.resolve(message.answer)
    else if (message.code) request?.reject(new EverwireError(message.code as ErrorCode))
    else request?.reject(new Error(`${name}: ${message.message}`))
  }

  const ask = <Kind extends keyof NodeQuestions>(
    kind: Kind,
    question: NodeQuestions[Kind]['ask'],
  ): Promise<NodeQuestions[Kind]['answer']> =>
    new Promise((resolve, reject) => {
      if (!child?.connected) return reject(new EverwireError('server-closing', `${name} does not run`))
      const id = ++requests
      waiting.set(id, { resolve: resolve as Waiting['resolve'], reject })
      child.send(
        { id, kind, ask: question } as NodeRequest,
        (error) => error && reject(new EverwireError('server-closing', error.message)),
      )
    })

  const ended = () =>
    new Promise<void>((resolve) => {
      if (!isRunning()) return resolve()
      child!.once('exit', () => resolve())
    })

  return {
    name,
    get nodeId() {
      return nodeId
    },
    url: `http://127.0.0.1:${settings.port}/everwire`,
    address: `127.0.0.1:${settings.port}`,
    get running() {
      return isRunning() && !closing
    },
    start: () =>
      new Promise((resolve, reject) => {
        const log = openSync(`${logs}${name}.log`, 'a')
        // The conditions and loaders of this process are handed on.
        const started = fork(program, [JSON.stringify(settings)], { stdio: ['ignore', log, log, 'ipc'] })
        child = started
        closing = false
        const cancel = setTimeout(
          () => fail(new Error(`${name} did not start within ${startMs} ms`)),
          startMs,
        )
        const fail = (error: Error) => {
          clearTimeout(cancel)
          started.kill('SIGKILL')
          reject(error)
        }
        started.on('message', (message: NodeMessage) => {
          answered(message)
          if (message.kind === 'failed')
            fail(Object.assign(new Error(`${name}: ${message.message}`), { code: message.code }))
          if (message.kind !== 'ready') return
          clearTimeout(cancel)
          nodeId = message.nodeId
          resolve()
        })
        started.on('error', fail)
        started.on('exit', (code, signal) => {
          fail(new Error(`${name} ended: ${signal ?? code}; see .verify/nodes/${name}.log`))
          for (const { reject } of waiting.values())
            reject(new EverwireError('outcome-unknown', 'the node died'))
          waiting.clear()
        })
      }),
    async kill() {
      const dead = ended()
      child?.kill('SIGKILL')
      await dead
    },
    drain: () => ask('drain', undefined),
    async close() {
      const dead = ended()
      closing = true
      await ask('close', undefined)
      await dead
    },
    publish: (channel, event, data) => ask('publish', { channel, event, data }),
    metrics: async () => readMetrics(await ask('metrics', undefined)),
    cpu: () => ask('cpu', undefined),
  }
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
