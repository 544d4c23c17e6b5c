import { execFile, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { poll } from './poll.js'

/** Thrown when another process took a port between choosing it and starting on it. */
export class PortTaken extends Error {}

export interface ProgramPlace {
  /** Its name on the PATH. */
  name: string
  /** Environment variable with its path. */
  env: string
  /** Where it may be if not on the PATH. @default /usr/sbin, where Debian keeps servers */
  folders?: readonly string[]
}

export interface ChildProgramOptions extends ProgramPlace {
  /** What it is called in messages. @default its name */
  label?: string
  /** What is to be installed where it is missing. @default its name */
  needed?: string
  args: readonly string[]
  /** As whom, where and with what environment it runs. @default as this process */
  spawnOptions?: Pick<SpawnOptions, 'uid' | 'gid' | 'cwd' | 'env'>
}

/** A real program in a process of its own, through starts and deaths; it never outlives this process. */
export interface ChildProgram {
  readonly pid: number | undefined
  /** The last lines that it wrote. */
  readonly lines: readonly string[]
  /** Starts it. @throws when it runs */
  launch(): void
  /** @throws what it wrote, when it has ended; PortTaken when that is why */
  assertRunning(): void
  signal(signal: NodeJS.Signals): void
  /**
   * Stops it in the middle of whatever it does: its sockets stay open and silent. Resolves once every thread of it
   * stands still: after SIGSTOP alone one that runs on another core goes on for a moment.
   */
  pause(): Promise<void>
  resume(): void
  /** Resolves once it is dead. @param signal default SIGKILL */
  kill(signal?: NodeJS.Signals): Promise<void>
}

const keptLines = 200
const run = promisify(execFile)

export function createChildProgram(options: ChildProgramOptions): ChildProgram {
  const { name, env, args, label = name, needed = name, spawnOptions } = options
  const lines: string[] = []
  let child: ChildProcess | undefined
  let ended = Promise.resolve()

  return {
    get pid() {
      return child?.pid
    },
    lines,
    launch() {
      if (child) throw new Error(`${label} runs already: end it first`)
      lines.length = 0
      const launched = spawn(findProgram(options), args, {
        ...spawnOptions,
        stdio: ['ignore', 'ignore', 'pipe'],
      })
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
              ? `there is no ${process.env[env] || name}: install ${needed}, or say where it is by ${env}`
              : String(error),
          ),
        )
        // `close` and not `exit`: the log is complete then.
        launched.once('close', (code, signal) => gone(`ended: ${signal ?? `code ${code}`}`))
      })
    },
    assertRunning() {
      if (child) return
      const log = lines.join('\n')
      throw /address already in use/i.test(log) ? new PortTaken(log) : new Error(`${label} ended:\n${log}`)
    },
    signal: (signal) => void child?.kill(signal),
    async pause() {
      const pid = child?.pid
      if (pid === undefined) throw new Error(`${label} does not run`)
      child?.kill('SIGSTOP')
      await poll(
        async () => child?.pid !== pid || (await threadStates(pid)).every((state) => state === 'T'),
        () => `every thread of ${label} stopped`,
      )
    },
    resume: () => void child?.kill('SIGCONT'),
    async kill(signal = 'SIGKILL') {
      child?.kill(signal)
      await ended
    },
  }
}

/** The path of a program, or its name where it must be on the PATH. */
export function findProgram({ name, env, folders = ['/usr/sbin'] }: ProgramPlace): string {
  const files = folders.map((folder) => path.join(folder, name))
  return process.env[env] || (files.find((file) => existsSync(file)) ?? name)
}

/** One letter for each thread, as `ps` shows it (proc(5), `stat`); for the whole process where there is no /proc. */
async function threadStates(pid: number): Promise<string[]> {
  const tasks = await readdir(`/proc/${pid}/task`).catch(() => undefined)
  if (!tasks) return [(await run('ps', ['-o', 'state=', '-p', `${pid}`])).stdout.trim().charAt(0)]
  const stats = await Promise.all(
    // A thread that ends meanwhile has no file any more, and stands still.
    tasks.map((task) => readFile(`/proc/${pid}/task/${task}/stat`, 'utf8').catch(() => ') T')),
  )
  return stats.map((stat) => stat.charAt(stat.lastIndexOf(')') + 2))
}

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
