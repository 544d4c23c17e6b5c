/**
 * What the client does about a code:
 * `stop` never tries again · `session` opens a new session and recovers by position · `retry` keeps the session and
 * attaches again after a backoff · `token` fetches a token, then attaches again · `transport` tries another transport
 * · `operation` concerns one operation, the session goes on.
 */
export type Recovery = 'stop' | 'session' | 'retry' | 'token' | 'transport' | 'operation'

interface CodeInfo {
  /** WebSocket close code (RFC 6455 §7.4.2, private range); mirrors the HTTP status where one fits. */
  readonly close: number
  /** HTTP status on the HTTP transports. */
  readonly status: number
  readonly recovery: Recovery
}

const info = (close: number, status: number, recovery: Recovery): CodeInfo => ({ close, status, recovery })

/** Every code that Everwire itself uses, on every transport. PROTOCOL.md has the same table in words. */
export const codes = {
  'bad-frame': info(4400, 400, 'session'),
  'unknown-frame': info(4418, 400, 'session'),
  version: info(4426, 426, 'stop'),
  unauthorized: info(4401, 401, 'stop'),
  'token-expired': info(4419, 401, 'token'),
  forbidden: info(4403, 403, 'operation'),
  'origin-refused': info(4430, 403, 'stop'),
  'transport-refused': info(4406, 403, 'transport'),
  'unknown-session': info(4404, 404, 'session'),
  'hello-timeout': info(4408, 408, 'retry'),
  'heartbeat-timeout': info(4431, 408, 'retry'),
  numbering: info(4409, 409, 'session'),
  stale: info(4410, 409, 'retry'),
  superseded: info(4411, 409, 'retry'),
  'frame-too-large': info(4413, 413, 'session'),
  'slow-consumer': info(4432, 429, 'session'),
  'rate-limited': info(4429, 429, 'retry'),
  internal: info(4500, 500, 'retry'),
  'server-closing': info(4503, 503, 'retry'),
  'too-many-sessions': info(4433, 503, 'retry'),
  'node-unavailable': info(4435, 503, 'retry'),
  'link-lost': info(4434, 503, 'retry'),
  closed: info(4000, 410, 'stop'),
  'invalid-channel': info(4440, 400, 'operation'),
  'unknown-channel': info(4441, 404, 'operation'),
  'too-many-subscriptions': info(4443, 429, 'operation'),
  'too-many-operations': info(4444, 429, 'operation'),
  'bad-payload': info(4445, 400, 'operation'),
  'unknown-method': info(4446, 404, 'operation'),
  timeout: info(4447, 504, 'operation'),
  'outcome-unknown': info(4448, 409, 'operation'),
  temporary: info(4449, 503, 'operation'),
  'queue-full': info(4450, 429, 'operation'),
  'no-transport': info(4451, 503, 'retry'),
  'bad-request': info(4460, 400, 'operation'),
  'token-in-url': info(4461, 400, 'operation'),
  'ticket-refused': info(4462, 401, 'operation'),
  'method-refused': info(4463, 405, 'operation'),
  'no-history': info(4464, 409, 'operation'),
  gone: info(4465, 410, 'operation'),
  'content-type-refused': info(4466, 415, 'operation'),
  'too-many-streams': info(4467, 503, 'retry'),
} as const satisfies Record<string, CodeInfo>

/** A code of Everwire, or one of the application's own, which starts with `app:`. */
export type ErrorCode = keyof typeof codes | `app:${string}`

/** How a code maps to close code, status and recovery; a code of another version counts as `internal`. */
export const codeInfo = (code: string): CodeInfo =>
  Object.hasOwn(codes, code) ? codes[code as keyof typeof codes] : codes.internal
