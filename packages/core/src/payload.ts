import { fromUtf8 } from './bytes.js'
import { EverwireError } from './errors.js'
import type { Frame, Payload } from './frame.js'

/**
 * A value as it travels: a Uint8Array as opaque bytes, `undefined` as no payload, all else as JSON.
 * @throws EverwireError `bad-payload` when it has no JSON form
 */
export function encodeData(value: unknown): { data?: Payload; binary?: boolean } {
  if (value === undefined) return {}
  if (value instanceof Uint8Array) return { data: value, binary: true }
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw new EverwireError('bad-payload', 'the value cannot be written as JSON', { cause })
  }
  if (text === undefined)
    throw new EverwireError('bad-payload', `a ${typeof value} cannot be written as JSON`)
  return { data: text }
}

/** The value that a frame carries. @throws EverwireError `bad-payload` */
export function decodeData({ data, binary }: Pick<Frame, 'data' | 'binary'>): unknown {
  if (data === undefined || (binary && typeof data !== 'string')) return data
  try {
    return JSON.parse(typeof data === 'string' ? data : fromUtf8(data)) as unknown
  } catch (cause) {
    throw new EverwireError('bad-payload', 'the payload is not JSON in UTF-8', { cause })
  }
}
