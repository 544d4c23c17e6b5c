import {
  encodeFrame,
  fromBase64,
  fromUtf8,
  parseHeader,
  toBase64,
  type EncodedFrame,
  type Frame,
  type Payload,
} from '@everwire/core'

/** A frame on its way between nodes, as JSON. */
export interface PackedFrame {
  /** The header, as JSON. */
  h: string
  /** The payload: text, or base64 when `b`. */
  d?: string
  /** The payload is opaque bytes. */
  b?: true
  /** Channel of the frame; and it must not be compressed. */
  c?: string
  s?: true
}

export function packFrame({ header, data, binary }: Frame): PackedFrame {
  return { h: JSON.stringify(header), ...packPayload(data, binary) }
}

export function unpackFrame(packed: PackedFrame): Frame {
  return { header: parseHeader(packed.h), ...payloadOf(packed) }
}

export function packEncoded({ head, data, binary, channel, compress }: EncodedFrame): PackedFrame {
  const packed: PackedFrame = { h: head, ...packPayload(data, binary) }
  if (channel !== undefined) packed.c = channel
  if (compress === false) packed.s = true
  return packed
}

export function unpackEncoded(packed: PackedFrame): EncodedFrame {
  const { data, binary } = payloadOf(packed)
  const compress = packed.s ? false : packed.c === undefined ? undefined : true
  return encodeFrame(parseHeader(packed.h), data, { binary, channel: packed.c, compress })
}

function packPayload(data: Payload | undefined, binary: boolean | undefined): Pick<PackedFrame, 'd' | 'b'> {
  if (data === undefined) return {}
  if (binary) return { d: toBase64(data as Uint8Array), b: true }
  return { d: typeof data === 'string' ? data : fromUtf8(data) }
}

const payloadOf = ({ d, b }: PackedFrame): Pick<Frame, 'data' | 'binary'> =>
  d === undefined ? {} : b ? { data: fromBase64(d), binary: true } : { data: d }
