import { EverwireError, type Clock } from '@everwire/core'

/**
 * Gives `run` so long, and not longer than `outer` allows. Its signal says when that is over, and is left alone once it
 * has ended. Rejects as `link-lost` when it did not end in time.
 */
export async function within<T>(
  clock: Clock,
  ms: number,
  run: (signal: AbortSignal) => T | Promise<T>,
  outer?: AbortSignal,
): Promise<T> {
  const started = clock.now()
  const controller = new AbortController()
  const { signal } = controller
  const abort = () => controller.abort()
  const cancel = clock.after(ms, abort)
  outer?.addEventListener('abort', abort)
  try {
    return await new Promise<T>((resolve, reject) => {
      signal.addEventListener('abort', () =>
        reject(new EverwireError('link-lost', `no answer within ${Math.round(clock.now() - started)} ms`)),
      )
      Promise.resolve(run(signal)).then(resolve, reject)
    })
  } finally {
    cancel()
    outer?.removeEventListener('abort', abort)
  }
}
