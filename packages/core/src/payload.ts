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
  return json(() => {
    // What has no JSON form, such as a function, gives undefined.
    const data = JSON.stringify(value) as string | undefined
    if (data === undefined) throw new TypeError(`a ${typeof value}`)
    return { data }
  })
}

/** The value that a frame carries. @throws EverwireError `bad-payload` */
export function decodeData({ data, binary }: Pick<Frame, 'data' | 'binary'>): unknown {
  if (data === undefined || (binary && typeof data !== 'string')) return data
  return json(() => JSON.parse(textOf(data)) as unknown)
}

function json<T>(convert: () => T): T {
  try {
    return convert()
  } catch (cause) {
    throw new EverwireError('bad-payload', 'no JSON', { cause })
  }
}
