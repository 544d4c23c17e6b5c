import { EverwireError, type Clock } from '@everwire/core'
import type { ClientSession } from './client-session.js'

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

export function createMethods(clock: Clock): Methods {
  const methods = new Map<string, Method>()
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
      let cancel = () => {}
      const timeout = new Promise<never>((_resolve, reject) => {
        cancel = clock.after(timeoutMs, () => {
          const error = new EverwireError('timeout', `${name} took longer than ${timeoutMs} ms`)
          controller.abort(error)
          reject(error)
        })
      })
      const result = (async () => method(session, input, { signal: controller.signal }))()
      // A method that fails after its time must not become an unhandled rejection.
      result.catch(() => {})
      return await Promise.race([result, timeout]).finally(() => cancel())
    },
  }
}
