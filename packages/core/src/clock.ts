/** Stops a timer. Safe to call twice, and after it has fired. */
export type Cancel = () => void

/**
 * Time, handed in. Everything in Everwire that waits does so through a Clock, so that tests own the time.
 * Clocks of two machines are never compared.
 */
export interface Clock {
  /** Monotonic milliseconds; only differences mean something. */
  now(): number
  /** Calls `run` once, `ms` milliseconds from now at the earliest. */
  after(ms: number, run: () => void): Cancel
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, run) {
    // What is longer would be taken for nothing at all.
    const timer = setTimeout(run, Math.min(ms, 2 ** 31 - 1))
    return () => clearTimeout(timer)
  },
}
