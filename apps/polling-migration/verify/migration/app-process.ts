import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Reading } from '../../src/meter.js'

/** The application at one step, as a process of its own. */
export interface AppProcess {
  readonly url: string
  readonly port: number
  read(): Promise<Reading>
  /** Ends it politely, and resolves when it has ended. */
  stop(): Promise<void>
  /** Ends it without a word. */
  kill(): Promise<void>
}

export interface AppOptions {
  step: string
  /** Whose page it serves. @default its own */
  page?: string
  port?: number
  env?: Readonly<Record<string, string>>
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

/** Starts a step, once it listens. Rejects with what it wrote when it does not. */
export async function startApp({ step, page = step, port = 0, env = {} }: AppOptions): Promise<AppProcess> {
  const args = ['--step', step, '--page', page, '--port', String(port)]
  const child = fork(main, args, {
    execArgv: ['--conditions=@everwire/source', '--import', 'tsx'],
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let output = ''
  child.stdout!.on('data', (chunk: Buffer) => (output += String(chunk)))
  child.stderr!.on('data', (chunk: Buffer) => (output += String(chunk)))
  const ended = once(child, 'exit')
  const url = await Promise.race([
    told(child, 'url') as Promise<string>,
    ended.then(() => Promise.reject(new Error(`step ${step} did not start:\n${output}`))),
  ])
  return {
    url,
    port: Number(new URL(url).port),
    async read() {
      const reading = told(child, 'reading')
      child.send('read')
      return (await reading) as Reading
    },
    async stop() {
      child.kill('SIGTERM')
      await ended
    },
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** The next message of the child that has this field. */
function told(child: ChildProcess, field: string): Promise<unknown> {
  return new Promise((resolve) => {
    const hear = (message: unknown) => {
      if (typeof message !== 'object' || !message || !(field in message)) return
      child.off('message', hear)
      resolve((message as Record<string, unknown>)[field])
    }
    child.on('message', hear)
  })
}
