import { systemClock } from '@everwire/core'
import { createChildProgram } from '../child-program.js'
import { poll } from '../poll.js'

export interface ServerProcessOptions {
  name: string
  configFile: string
  port: number
  monitorPort: number
  storeDir: string
}

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
  /** Stops it in the middle of whatever it does: its sockets stay open and silent, once this resolves. */
  pause(): Promise<void>
  resume(): void
}

const orderlyMs = 5_000

export function createServerProcess(options: ServerProcessOptions): ServerProcess {
  const { name, configFile, port, monitorPort, storeDir } = options
  const monitorUrl = `http://127.0.0.1:${monitorPort}`
  const program = createChildProgram({
    name: 'nats-server',
    label: name,
    needed: 'nats-server 2.9.10 or newer',
    env: 'NATS_SERVER_PATH',
    args: ['-c', configFile],
  })

  const monitor = async (path: string): Promise<unknown> => {
    try {
      const response = await fetch(`${monitorUrl}${path}`, { signal: AbortSignal.timeout(1_000) })
      return response.ok ? await response.json() : undefined
    } catch {
      return undefined
    }
  }

  const stop = async () => {
    program.signal('SIGCONT')
    const cancel = systemClock.after(orderlyMs, () => program.signal('SIGKILL'))
    await program.kill('SIGTERM')
    cancel()
  }

  const start = async () => {
    program.launch()
    await poll(
      async () => {
        program.assertRunning()
        return ((await monitor('/healthz')) as { status?: string } | undefined)?.status === 'ok'
      },
      () => `${name} ready. It wrote:\n${program.lines.join('\n')}`,
    )
  }

  return {
    name,
    url: `nats://127.0.0.1:${port}`,
    monitorUrl,
    storeDir,
    get pid() {
      return program.pid
    },
    get running() {
      return program.pid !== undefined
    },
    log: () => program.lines,
    monitor,
    kill: (signal) => program.kill(signal),
    stop,
    start,
    async restart() {
      await stop()
      await start()
    },
    pause: () => program.pause(),
    resume: () => program.resume(),
  }
}
