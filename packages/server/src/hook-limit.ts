import { EverwireError, type Clock } from '@everwire/core'
import { isPromise, within } from './time-limit.js'

/** Waits for what a hook answers, but not for ever. Rejects with EverwireError `temporary` when the time is over. */
export type HookLimit = <Answer>(hook: string, answer: Answer | PromiseLike<Answer>) => Promise<Answer>

export interface HookLimitOptions {
  clock: Clock
  timeoutMs: number
  /** A hook has not answered: one line in the log. */
  late(hook: string): void
}

/** A bound for the hooks that requests and links wait for before anything else is known of them. */
export function createHookLimit({ clock, timeoutMs, late }: HookLimitOptions): HookLimit {
  return async (hook, answer) => {
    if (!isPromise(answer)) return answer
    return await within(clock, timeoutMs, answer, () => {
      late(hook)
      return new EverwireError('temporary', `${hook} did not answer within ${timeoutMs} ms`)
    })
  }
}
