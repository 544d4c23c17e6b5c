import { connect } from 'node:net'
import { createChildProgram } from '../child-program.js'
import { poll } from '../poll.js'

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
  /** Stops it in the middle of whatever it does: connections stay open and silent, both ways, once this resolves. */
  pause(): Promise<void>
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

export function createProgram({
  name,
  env,
  args,
  port,
  ready = async () => true,
  clean,
}: ProgramOptions): ProxyProgram {
  const program = createChildProgram({ name, env, args })
  return {
    name,
    port,
    url: `http://127.0.0.1:${port}`,
    get running() {
      return program.pid !== undefined
    },
    log: () => program.lines,
    async start() {
      program.launch()
      await poll(
        async () => {
          program.assertRunning()
          return (await listens(port)) && (await ready())
        },
        () => `${name} listening. It wrote:\n${program.lines.join('\n')}`,
      )
    },
    kill: () => program.kill(),
    pause: () => program.pause(),
    resume: () => program.resume(),
    async stop() {
      await program.kill()
      await clean()
    },
  }
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
