import { execFile } from 'node:child_process'
import { chown, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { systemClock } from '@everwire/core'
import { createChildProgram, PortTaken } from './child-program.js'
import { freePorts } from './nats-server/free-ports.js'
import { poll } from './poll.js'
import { initdbPath, postgresPlace, postgresUser } from './postgres-server/programs.js'

/** One PostgreSQL on loopback, through starts and deaths, always on the same port with the same data. */
export interface Postgres {
  /** Address of the database `postgres`, as its superuser, without a password. */
  readonly url: string
  readonly port: number
  readonly pid: number | undefined
  readonly running: boolean
  /** The last lines that it wrote. */
  log(): readonly string[]
  /** SIGKILL: all its connections break. Resolves once it is dead, and what it had started too. */
  kill(): Promise<void>
  /** Starts it, again. Resolves once it serves clients; what was committed is there. */
  start(): Promise<void>
  /** Ends it when it runs, and starts it. */
  restart(): Promise<void>
  /** Ends it, and removes what it wrote. Safe to call twice. */
  stop(): Promise<void>
}

const mostAttempts = 5
const orderlyMs = 5_000

/**
 * Starts a real PostgreSQL with a new, empty database, once it can be used. The program is POSTGRES_PATH, else the newest
 * that Debian has installed, else `postgres` of the PATH, with `initdb` beside it; as root they run as the user
 * `postgres`, else `nobody`. Rejects with what they wrote when it does not start.
 */
export async function startPostgres(): Promise<Postgres> {
  for (let attempt = 1; ; attempt++)
    try {
      return await tryToStart()
    } catch (error) {
      if (!(error instanceof PortTaken) || attempt === mostAttempts) throw error
    }
}

async function tryToStart(): Promise<Postgres> {
  const user = await postgresUser()
  const folder = await mkdtemp(path.join(tmpdir(), 'everwire-postgres-'))
  const data = path.join(folder, 'data')
  const [port] = (await freePorts(1)) as [number]
  // Its own folder: that of this process may be closed to the other user. Messages are read, and must be English.
  const spawnOptions = { ...user, cwd: folder, env: { ...process.env, LC_ALL: 'C' } }
  const program = createChildProgram({
    ...postgresPlace(),
    needed: 'PostgreSQL',
    args: ['-D', data, ...settings(port).flatMap((setting) => ['-c', setting])],
    spawnOptions,
  })

  const end = async () => {
    const cancel = systemClock.after(orderlyMs, () => program.signal('SIGKILL'))
    // Fast shutdown: it waits for no client.
    await program.kill('SIGINT')
    cancel()
  }

  const start = async () => {
    program.launch()
    await poll(
      async () => {
        program.assertRunning()
        return program.lines.some((line) => line.includes('is ready to accept connections'))
      },
      () => `PostgreSQL ready. It wrote:\n${program.lines.join('\n')}`,
    )
  }

  let stopped: Promise<void> | undefined
  const stop = () =>
    (stopped ??= (async () => {
      await end()
      await rm(folder, { recursive: true, force: true })
    })())

  try {
    if (user) await chown(folder, user.uid, user.gid)
    await initialize(data, spawnOptions)
    await start()
  } catch (error) {
    await stop()
    throw error
  }

  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    port,
    get pid() {
      return program.pid
    },
    get running() {
      return program.pid !== undefined
    },
    log: () => program.lines,
    kill: () => program.kill(),
    start,
    async restart() {
      await end()
      await start()
    },
    stop,
  }
}

const settings = (port: number) => [
  `port=${port}`,
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  // What a machine's own death would need. A killed server has still handed all to the system that was committed.
  'fsync=off',
  'full_page_writes=off',
  'shared_buffers=16MB',
  'max_connections=50',
  // Files of its folder: shared memory of a server that is killed would stay for ever.
  'dynamic_shared_memory_type=mmap',
]

async function initialize(data: string, options: { cwd: string; env: NodeJS.ProcessEnv }): Promise<void> {
  const args = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync']
  try {
    await promisify(execFile)(initdbPath(), args, options)
  } catch (error) {
    const { code, stderr = '', message } = error as Error & { code?: unknown; stderr?: string }
    throw new Error(
      code === 'ENOENT'
        ? `there is no ${initdbPath()}: install PostgreSQL, or say where its server is by POSTGRES_PATH`
        : `initdb ended:\n${stderr || message}`,
      { cause: error },
    )
  }
}
