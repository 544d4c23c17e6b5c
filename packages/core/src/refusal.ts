import type { ErrorCode } from './codes.js'
import { EverwireError } from './errors.js'
import type { Frame } from './frame.js'

/** What a `refuse`, `close` or `err` frame says, as an error; `at` is the place of its code in the header. */
export const refusal = ({ header }: Frame, at = 1): EverwireError =>
  new EverwireError(header[at] as ErrorCode, header[at + 1] as string | undefined, {
    retryAfterMs: (header[at + 2] ?? undefined) as number | undefined,
  })
