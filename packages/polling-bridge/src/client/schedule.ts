/** How long after a failure the next try is: the interval, doubled by each further one. In milliseconds. */
export function retryDelay(intervalMs: number, failures: number, retryAfterMs = 0): number {
  const longest = Math.max(intervalMs, Math.min(10 * intervalMs, 60_000))
  return Math.max(Math.min(intervalMs * 2 ** (failures - 1), longest), retryAfterMs)
}

/** How long live is left alone after it was refused so many times. In milliseconds. */
export const refusalDelay = (refusals: number): number => Math.min(30_000 * 2 ** (refusals - 1), 600_000)

/** A time between 90 and 110 % of it. */
export const spread = (ms: number, random: () => number): number => ms * (0.9 + 0.2 * random())
