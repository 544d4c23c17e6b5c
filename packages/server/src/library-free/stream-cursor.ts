const intervalMs = 20_000
/** Where the Durable Streams draft starts to count: 2024-10-09. */
const originMs = Date.UTC(2024, 9, 9)
const maxJumpMs = 3_600_000

/**
 * The cursor of a live answer: the number of the interval, so that those who wait for the same ask for the same URL;
 * always beyond the one that the client brought, so that a cache never leads it in a circle.
 */
export function nextCursor(brought: string | undefined, nowMs: number, random: () => number): string {
  const current = Math.floor((nowMs - originMs) / intervalMs)
  const last = brought !== undefined && /^\d{1,15}$/.test(brought) ? Number(brought) : -1
  if (last < current) return String(current)
  return String(last + 1 + Math.floor((random() * maxJumpMs) / intervalMs))
}
