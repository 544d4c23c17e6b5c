import type { codes, ErrorCode, Recovery } from './codes.js'

export interface EverwireErrorOptions {
  cause?: unknown
  /** Milliseconds to wait at least before another try; rounded up, as frames carry whole numbers. */
  retryAfterMs?: number | undefined
}

/** The one error of Everwire. Look at `code`; the message is for people and may change. */
export class EverwireError extends Error {
  override readonly name = 'EverwireError'
  readonly code: ErrorCode
  readonly retryAfterMs: number | undefined

  constructor(code: ErrorCode, message?: string, options: EverwireErrorOptions = {}) {
    super(message ? `${message} (${code})` : code, options)
    this.code = code
    this.retryAfterMs = options.retryAfterMs && Math.ceil(options.retryAfterMs)
  }
}

/** The code behind whatever was thrown; what is not ours is `internal`, or `other` where the caller knows better. */
export const codeOf = (error: unknown, other: ErrorCode = 'internal'): ErrorCode =>
  error instanceof EverwireError ? error.code : other

/*
 * What a client must know of `codes`: those that end a link or a session and do not just mean `retry`, by their close
 * codes. Apart from the whole table, which a browser need not load; a test compares the two.
 */
const linkCodes: Partial<Record<Recovery, Record<number, keyof typeof codes>>> = {
  stop: { 4000: 'closed', 4401: 'unauthorized', 4426: 'version', 4430: 'origin-refused' },
  session: {
    4400: 'bad-frame',
    4404: 'unknown-session',
    4409: 'numbering',
    4413: 'frame-too-large',
    4418: 'unknown-frame',
    4432: 'slow-consumer',
  },
  token: { 4419: 'token-expired' },
  transport: { 4406: 'transport-refused' },
  operation: { 4403: 'forbidden' },
}

/** What a client does about a link or a session that ended so; a code that it does not know means `retry`. */
export function recoveryOf(code: string): Recovery {
  for (const [recovery, known] of Object.entries(linkCodes))
    if (Object.values(known).includes(code as never)) return recovery as Recovery
  return 'retry'
}

/** The code behind a WebSocket's close: its reason, or where a proxy dropped that, what a client does about the number. */
export function codeOfClose(close: number, reason = ''): ErrorCode {
  if (reason && close >= 4000) return reason as ErrorCode
  for (const known of Object.values(linkCodes)) if (known[close]) return known[close]
  return 'link-lost'
}

/** Why publications of a channel are missing; nothing else ever hides a loss. */
export const gapReasons = ['expired', 'epoch', 'limit', 'bus', 'session'] as const
export type GapReason = (typeof gapReasons)[number]
