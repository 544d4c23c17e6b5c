import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { poll } from '../nats-server/poll.js'

/** Thrown when another process took a port between choosing it and listening on it. */
export class PortTaken extends Error {}

/** A real proxy in a process of its own, through starts and deaths, always on the same port. */
export interface ProxyProgram {
  readonly name: string
  readonly port: number
  /** Where clients go, without a slash at the end. */
  readonly url: string
  readonly running: boolean
  /** The last lines that it wrote. */
  log(): readonly string[]
  /** Starts it, again. Resolves once it listens. */
  start(): Promise<void>
  /** SIGKILL: all its connections break. Resolves once it is dead. */
  kill(): Promise<void>
  /** Stops it in the middle of whatever it does: connections stay open and silent, both ways. */
  pause(): void
  resume(): void
  /** Ends it, and removes what it wrote. Safe to call twice. */
  stop(): Promise<void>
}

export interface ProgramOptions {
  name: string
  /** Environment variable with its path. */
  env: string
  args: readonly string[]
  port: number
  /** Whether it can be used, once it listens. @default at once */
  ready?: () => Promise<boolean>
  /** Removes what it wrote. */
  clean(): Promise<void>
}

const keptLines = 200

export function createProgram({
  name,
  env,
  args,
  port,
  ready = async () => true,
  clean,
}: ProgramOptions): ProxyProgram {
  const lines: string[] = []
  let child: ChildProcess | undefined
  let ended = Promise.resolve()

  const launch = () => {
    const launched = spawn(find(name, env), args, { stdio: ['ignore', 'ignore', 'pipe'] })
    child = launched
    const guard = guardOf(launched)
    createInterface(launched.stderr!).on('line', (line) => {
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
      launched.once('error', (error: NodeJS.ErrnoException) =>
        gone(
          error.code === 'ENOENT'
            ? `there is no ${name}: install it, or say where it is by ${env}`
            : String(error),
        ),
      )
      // `close` and not `exit`: the log is complete then.
      launched.once('close', (code, signal) => gone(`ended: ${signal ?? `code ${code}`}`))
    })
  }

  const kill = async () => {
    child?.kill('SIGKILL')
    await ended
  }

  return {
    name,
    port,
    url: `http://127.0.0.1:${port}`,
    get running() {
      return child !== undefined
    },
    log: () => lines,
    async start() {
      if (child) throw new Error(`${name} runs already: kill() it first`)
      lines.length = 0
      launch()
      await poll(
        async () => {
          if (!child) {
            const log = lines.join('\n')
            throw /address already in use/i.test(log)
              ? new PortTaken(log)
              : new Error(`${name} ended:\n${log}`)
          }
          return (await listens(port)) && (await ready())
        },
        () => `${name} listening. It wrote:\n${lines.join('\n')}`,
      )
    },
    kill,
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    async stop() {
      await kill()
      await clean()
    },
  }
}

function find(name: string, env: string): string {
  // Debian keeps servers in sbin, which is not on every user's PATH.
  const inSbin = `/usr/sbin/${name}`
  return process.env[env] || (existsSync(inSbin) ? inSbin : name)
}

const listens = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('error', () => resolve(false))
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })

/** Ends a program whose test was killed: it lives as long as the pipe that this process holds, however that ends. */
function guardOf({ pid }: ChildProcess): ChildProcess | undefined {
  if (pid === undefined) return undefined
  const guard = spawn('sh', ['-c', 'cat >/dev/null; kill -KILL "$0"', `${pid}`], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guard.on('error', () => {})
  guard.unref()
  return guard
}
