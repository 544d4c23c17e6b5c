import { EverwireError, type Clock } from '@everwire/core'

/** Lets `perSecond` through for each key, and `burst` at once. @throws EverwireError `rate-limited` */
export function createRateLimit(
  clock: Clock,
  { perSecond, burst }: { perSecond: number; burst: number },
): (key: object) => void {
  const buckets = new WeakMap<object, { tokens: number; at: number }>()
  return (key) => {
    const now = clock.now()
    const { tokens, at } = buckets.get(key) ?? { tokens: burst, at: now }
    const filled = Math.min(burst, tokens + ((now - at) / 1_000) * perSecond)
    const allowed = filled >= 1
    buckets.set(key, { tokens: allowed ? filled - 1 : filled, at: now })
    if (allowed) return
    throw new EverwireError('rate-limited', `at most ${perSecond} a second`, {
      retryAfterMs: Math.ceil(((1 - filled) / perSecond) * 1_000),
    })
  }
}
