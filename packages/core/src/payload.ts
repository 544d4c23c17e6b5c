import { textOf } from './codec.js'
import { EverwireError } from './errors.js'
import type { Frame, Payload } from './frame.js'

/**
 * A value as it travels: a Uint8Array as opaque bytes, `undefined` as no payload, all else as JSON.
 * @throws EverwireError `bad-payload` when it has no JSON form
 */
export function encodeData(value: unknown): { data?: Payload; binary?: boolean } {
  if (value === undefined) return {}
  if (value instanceof Uint8Array) return { data: value, binary: true }
  try {
    // What has no JSON form, such as a function, gives undefined.
    const data = JSON.stringify(value) as string | undefined
    if (data !== undefined) return { data }
  } catch (cause) {
    throw new EverwireError('bad-payload', 'no JSON', { cause })
  }
  throw new EverwireError('bad-payload', `no JSON: a ${typeof value}`)
}

/** The value that a frame carries. @throws EverwireError `bad-payload` */
export function decodeData({ data, binary }: Pick<Frame, 'data' | 'binary'>): unknown {
  if (data === undefined || (binary && typeof data !== 'string')) return data
  try {
    return JSON.parse(textOf(data)) as unknown
  } catch (cause) {
    throw new EverwireError('bad-payload', 'no JSON', { cause })
  }
}
