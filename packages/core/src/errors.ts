import type { ErrorCode, Recovery } from './codes.js'

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
    const ending = `(${code})`
    // What another end said has it already.
    const isWhole = !message || message === code || message.endsWith(ending)
    super(isWhole ? message || code : `${message} ${ending}`, options)
    this.code = code
    this.retryAfterMs = options.retryAfterMs && Math.ceil(options.retryAfterMs)
  }
}

/** The code behind whatever was thrown; what is not ours is `internal`, or `other` where the caller knows better. */
export const codeOf = (error: unknown, other: ErrorCode = 'internal'): ErrorCode =>
  error instanceof EverwireError ? error.code : other

/*
 * What a client must know of `codes`: those that end a link or a session and do not just mean `retry`. Apart from the
 * whole table, which a browser need not load; a test compares the two.
 */
const linkCodes: Partial<Record<ErrorCode, [close: number, Recovery]>> = {
  closed: [4000, 'stop'],
  unauthorized: [4401, 'stop'],
  version: [4426, 'stop'],
  'origin-refused': [4430, 'stop'],
  'bad-frame': [4400, 'session'],
  'unknown-session': [4404, 'session'],
  numbering: [4409, 'session'],
  'frame-too-large': [4413, 'session'],
  'unknown-frame': [4418, 'session'],
  'slow-consumer': [4432, 'session'],
  'token-expired': [4419, 'token'],
  'transport-refused': [4406, 'transport'],
  forbidden: [4403, 'operation'],
}

/** What a client does about a link or a session that ended so; a code that it does not know means `retry`. */
export const recoveryOf = (code: string): Recovery => linkCodes[code as ErrorCode]?.[1] ?? 'retry'

/** The code behind a WebSocket's close: its reason, or where a proxy dropped that, what a client does about the number. */
export const codeOfClose = (close: number, reason = ''): ErrorCode =>
  ((close >= 4000 && reason) ||
    Object.keys(linkCodes).find((code) => linkCodes[code as ErrorCode]![0] === close) ||
    'link-lost') as ErrorCode

/** Why publications of a channel are missing; nothing else ever hides a loss. */
export const gapReasons = ['expired', 'epoch', 'limit', 'bus', 'session'] as const
export type GapReason = (typeof gapReasons)[number]
