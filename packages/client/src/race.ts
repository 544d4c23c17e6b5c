import type { Clock } from '@everwire/core'

export interface RaceOptions<Candidate, Result> {
  clock: Clock
  /** The next starts so long after the last, or when one fails. */
  staggerMs: number
  attempt(candidate: Candidate, isFirst: boolean, signal: AbortSignal): Promise<Result>
  /** Nobody else need try. */
  isFinal(error: unknown): boolean
  /** It worked too late. */
  discard(result: Result): void
}

/**
 * Attempts that start one after the other, without waiting for each other: the first that works wins, as in happy
 * eyeballs (RFC 8305). Rejects with the last error when none works.
 */
export function race<Candidate, Result>(
  candidates: readonly Candidate[],
  { clock, staggerMs, attempt, isFinal, discard }: RaceOptions<Candidate, Result>,
): Promise<readonly [Candidate, Result]> {
  return new Promise((resolve, reject) => {
    const controller = new AbortController()
    let next = 0
    let running = 0
    let over = false
    const finish = () => {
      over = true
      controller.abort()
    }
    const start = () => {
      if (over || next >= candidates.length) return
      const candidate = candidates[next]!
      const cancel = clock.after(staggerMs, start)
      running++
      attempt(candidate, next++ === 0, controller.signal).then(
        (result) => {
          cancel()
          if (over) return discard(result)
          finish()
          resolve([candidate, result])
        },
        (error: unknown) => {
          cancel()
          running--
          if (over) return
          if (isFinal(error) || (running === 0 && next >= candidates.length)) {
            finish()
            reject(error)
          } else start()
        },
      )
    }
    start()
  })
}
