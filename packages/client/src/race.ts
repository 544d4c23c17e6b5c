import type { Clock, EverwireError } from '@everwire/core'

export interface RaceOptions<Candidate, Result> {
  clock: Clock
  /** The next starts so long after the last, or when one fails. */
  staggerMs: number
  /** Rejects with an EverwireError. */
  attempt(candidate: Candidate, signal: AbortSignal): Promise<Result>
  /** Ends it all. */
  outer: AbortSignal
  /** Nobody else need try. */
  isFinal(error: EverwireError): boolean
  /** It worked too late. */
  discard(result: Result): void
}

/**
 * Attempts that start one after the other, without waiting for each other: the first that works wins, as in happy
 * eyeballs (RFC 8305), and the signal stops the others. Rejects with the last error when none works.
 */
export function race<Candidate, Result>(
  candidates: readonly Candidate[],
  { clock, staggerMs, attempt, outer, isFinal, discard }: RaceOptions<Candidate, Result>,
): Promise<readonly [Candidate, Result]> {
  return new Promise((resolve, reject) => {
    const controller = new AbortController()
    const { signal } = controller
    const end = () => controller.abort()
    outer.addEventListener('abort', end, { signal })
    let next = 0
    let running = 0
    const start = () => {
      const candidate = candidates[next]
      if (signal.aborted || !candidate) return
      next++
      running++
      const cancel = clock.after(staggerMs, start)
      attempt(candidate, signal)
        .finally(cancel)
        .then(
          (result) => {
            if (signal.aborted) return discard(result)
            resolve([candidate, result])
            end()
          },
          (error: EverwireError) => {
            running--
            if (isFinal(error) || (!running && next >= candidates.length)) {
              reject(error)
              end()
            } else start()
          },
        )
    }
    start()
  })
}
