import { EverwireError, type Clock } from '@everwire/core'
import type { ClientSession } from './client-session.js'
import type { Schemas } from './schemas.js'
import { within } from './time-limit.js'

export interface MethodContext {
  /** Aborted when the time is over; nobody waits for the result then. */
  signal: AbortSignal
}

/** Answers a request. What it throws goes to the client if it is an EverwireError, else as `internal`. */
export type Method = (session: ClientSession, input: unknown, context: MethodContext) => unknown

export interface Methods {
  /** @throws TypeError when the name is taken */
  add(name: string, method: Method): void
  /** Rejects with EverwireError `unknown-method`, `timeout`, or what the method throws. */
  call(name: string, session: ClientSession, input: unknown, timeoutMs: number): Promise<unknown>
}

export function createMethods(clock: Clock, schemas: Schemas): Methods {
  const methods = new Map<string, Method>()
  const answer = async (name: string, output: unknown): Promise<unknown> => {
    try {
      return await schemas.output(name, output)
    } catch (cause) {
      // It is the method that is wrong, not who asks; what it is goes to the log only.
      throw new Error(`method ${name} broke its contract`, { cause })
    }
  }
  return {
    add(name, method) {
      if (methods.has(name)) throw new TypeError(`method ${name} is registered already`)
      methods.set(name, method)
    },
    async call(name, session, input, timeoutMs) {
      const method = methods.get(name)
      if (!method)
        throw new EverwireError('unknown-method', `there is no method ${JSON.stringify(name.slice(0, 80))}`)
      const controller = new AbortController()
      const result = (async () => {
        const output = await method(session, await schemas.input(name, input), { signal: controller.signal })
        return await answer(name, output)
      })()
      return await within(clock, timeoutMs, result, () => {
        const error = new EverwireError('timeout', `${name} took longer than ${timeoutMs} ms`)
        controller.abort(error)
        return error
      })
    },
  }
}
