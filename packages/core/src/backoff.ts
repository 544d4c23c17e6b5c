import * as defaults from './limits.js'

export interface BackoffOptions {
  /** First ceiling. @default 500 */
  backoffMs?: number
  /** Highest ceiling. @default 20000 */
  maxBackoffMs?: number
  /** 0 ≤ x < 1. @default Math.random */
  random?: () => number
}

/**
 * Milliseconds to wait before attempt number `attempt` (from 0): full jitter, so that clients which fell together do
 * not come back together. https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function backoff(
  attempt: number,
  {
    backoffMs = defaults.backoffMs,
    maxBackoffMs = defaults.maxBackoffMs,
    random = Math.random,
  }: BackoffOptions = {},
): number {
  return random() * Math.min(maxBackoffMs, backoffMs * 2 ** Math.min(attempt, 30))
}
