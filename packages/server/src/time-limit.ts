import type { Clock } from '@everwire/core'

/** What `answer` gives, or a rejection with what `late` makes once the time is over; what it gives later is dropped. */
export async function within<Answer>(
  clock: Clock,
  ms: number,
  answer: PromiseLike<Answer>,
  late: () => Error,
): Promise<Answer> {
  let cancel = () => {}
  const timeout = new Promise<never>((_resolve, reject) => {
    cancel = clock.after(ms, () => reject(late()))
  })
  return await Promise.race([answer, timeout]).finally(() => cancel())
}

export const isPromise = <Value>(value: Value | PromiseLike<Value>): value is PromiseLike<Value> =>
  typeof (value as PromiseLike<Value> | null | undefined)?.then === 'function'
