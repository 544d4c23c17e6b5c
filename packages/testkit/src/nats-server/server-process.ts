import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { systemClock } from '@everwire/core'
import { poll } from './poll.js'

export interface ServerProcessOptions {
  name: string
  configFile: string
  port: number
  monitorPort: number
  storeDir: string
}

/** Thrown when another process took a port between choosing it and starting on it. */
export class PortTaken extends Error {}

/** One nats-server, through starts and deaths, always on the same ports and store. */
export interface ServerProcess {
  readonly name: string
  readonly url: string
  /** Base of its monitoring pages. */
  readonly monitorUrl: string
  /** Its JetStream files; copy them while it is down to roll it back later. */
  readonly storeDir: string
  readonly pid: number | undefined
  readonly running: boolean
  /** The last lines that it wrote. */
  log(): readonly string[]
  /** A monitoring page as JSON, such as `/varz`; undefined while it does not answer. */
  monitor(path: string): Promise<unknown>
  /** Resolves once it is dead. @param signal default SIGKILL */
  kill(signal?: NodeJS.Signals): Promise<void>
  /** Ends it in an orderly way, at last by SIGKILL. */
  stop(): Promise<void>
  /** Starts it, again. Resolves once it serves clients, and JetStream in a cluster that has a leader. */
  start(): Promise<void>
  /** Ends it when it runs, and starts it. */
  restart(): Promise<void>
  /** Stops it in the middle of whatever it does: its sockets stay open and silent. */
  pause(): void
  resume(): void
}

const keptLines = 200
const orderlyMs = 5_000

export function createServerProcess(options: ServerProcessOptions): ServerProcess {
  const { name, configFile, port, monitorPort, storeDir } = options
  const monitorUrl = `http://127.0.0.1:${monitorPort}`
  const lines: string[] = []
  let child: ChildProcess | undefined
  let ended = Promise.resolve()

  const launch = () => {
    const launched = spawn(command(), ['-c', configFile], { stdio: ['ignore', 'ignore', 'pipe'] })
    child = launched
    const guard = guardOf(launched)
    const output = createInterface(launched.stderr!)
    output.on('line', (line) => {
      lines.push(line)
      if (lines.length > keptLines) lines.shift()
    })
    ended = new Promise((resolve) => {
      const gone = (line: string) => {
        lines.push(line)
        if (child === launched) child = undefined
        guard?.kill('SIGKILL')
        resolve()
      }
      launched.once('error', (error) => gone(explain(error)))
      // `close` and not `exit`: the log is complete then.
      launched.once('close', (code, signal) => gone(`ended: ${signal ?? `code ${code}`}`))
    })
  }

  const monitor = async (path: string): Promise<unknown> => {
    try {
      const response = await fetch(`${monitorUrl}${path}`, { signal: AbortSignal.timeout(1_000) })
      return response.ok ? await response.json() : undefined
    } catch {
      return undefined
    }
  }

  const kill = async (signal: NodeJS.Signals = 'SIGKILL') => {
    child?.kill(signal)
    await ended
  }

  const stop = async () => {
    child?.kill('SIGCONT')
    child?.kill('SIGTERM')
    const cancel = systemClock.after(orderlyMs, () => void child?.kill('SIGKILL'))
    await ended
    cancel()
  }

  const start = async () => {
    if (child) throw new Error(`${name} runs already: stop() or kill() it first`)
    lines.length = 0
    launch()
    await poll(
      async () => {
        if (!child) {
          const log = lines.join('\n')
          throw log.includes('address already in use')
            ? new PortTaken(log)
            : new Error(`${name} ended:\n${log}`)
        }
        return ((await monitor('/healthz')) as { status?: string } | undefined)?.status === 'ok'
      },
      () => `${name} ready. It wrote:\n${lines.join('\n')}`,
    )
  }

  return {
    name,
    url: `nats://127.0.0.1:${port}`,
    monitorUrl,
    storeDir,
    get pid() {
      return child?.pid
    },
    get running() {
      return child !== undefined
    },
    log: () => lines,
    monitor,
    kill,
    stop,
    start,
    async restart() {
      await stop()
      await start()
    },
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
  }
}

/** Ends a server whose test was killed: it lives as long as the pipe that this process holds, however that ends. */
function guardOf({ pid }: ChildProcess): ChildProcess | undefined {
  if (pid === undefined) return undefined
  const guard = spawn('sh', ['-c', 'cat >/dev/null; kill -KILL "$0"', `${pid}`], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guard.on('error', () => {})
  guard.unref()
  return guard
}

const command = () => process.env.NATS_SERVER_PATH || 'nats-server'

const explain = (error: NodeJS.ErrnoException) =>
  error.code === 'ENOENT'
    ? `there is no ${command()}: install nats-server 2.9.10 or newer, or say where it is by NATS_SERVER_PATH`
    : String(error)
