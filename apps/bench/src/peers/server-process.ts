import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Question } from './servers/answer-parent.js'

/** A server under test in a process of its own. */
export interface ServerProcess {
  readonly url: string
  /** Time on the processor so far, in microseconds, the kernel's included. */
  cpu(): Promise<number>
  /** Resident memory in bytes, after a garbage collection. */
  memory(): Promise<number>
  stop(): Promise<void>
}

/** Starts `servers/NAME.ts`, with the address of what joins it to other nodes, if there are any. */
export async function startServer(name: string, bus?: string): Promise<ServerProcess> {
  const program = fileURLToPath(new URL(`./servers/${name}.ts`, import.meta.url))
  // The same loader and conditions: whether packages run from source or as they are built is decided in one place.
  const execArgv = [...process.execArgv, '--expose-gc']
  const child = fork(program, bus === undefined ? [] : [bus], { execArgv })
  const ended = once(child, 'exit')
  const next = async (): Promise<number> => {
    const answer = await Promise.race([once(child, 'message'), ended.then(() => undefined)])
    if (!answer) throw new Error(`the server ${name} ended with ${child.exitCode ?? child.signalCode}`)
    return (answer as [number])[0]
  }
  const ask = (question: Question) => {
    child.send(question)
    return next()
  }
  const port = await next()
  return {
    url: `ws://127.0.0.1:${port}`,
    cpu: () => ask('cpu'),
    memory: () => ask('memory'),
    async stop() {
      // It ends by itself then, and writes its profile where --cpu-prof is given.
      if (child.connected) child.disconnect()
      await ended
    },
  }
}
