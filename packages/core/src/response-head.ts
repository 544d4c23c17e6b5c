import { codeInfo } from './codes.js'
import { eventStreamType } from './event-stream.js'
import type { EncodedFrame } from './frame.js'

/** The part of Node's ServerResponse that is used. */
export interface ResponseLike {
  readonly writableLength: number
  writeHead(status: number, headers: Record<string, string | string[] | number | undefined>): unknown
  write(chunk: string | Uint8Array): boolean
  end(): unknown
  destroy(): unknown
}

/** Headers of every answer that streams: nothing on the path may store, change or hold it. */
export const streamHeaders = {
  'content-type': eventStreamType,
  'cache-control': 'no-store, no-transform',
  'x-accel-buffering': 'no',
} as const

/** How an answer starts: as its first frame says when that refuses, else with 200. */
export function startOf(first: EncodedFrame | undefined): {
  status: number
  headers: Record<string, string>
} {
  if (first?.kind !== 'refuse') return { status: 200, headers: {} }
  const [, code, , retryAfterMs] = JSON.parse(first.head) as [string, string, string?, number?]
  return { status: codeInfo(code).status, headers: retryAfter(retryAfterMs) }
}

/** RFC 9110 §10.2.3, in whole seconds. */
export const retryAfter = (ms: number | undefined): Record<string, string> =>
  ms === undefined ? {} : { 'retry-after': String(Math.ceil(ms / 1_000)) }
