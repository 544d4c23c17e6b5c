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

const maxCachedBytes = 4_194_304

/** As many frames, from the first on, as fit together into so many bytes of JSON. */
export function prefixThatFits(frames: readonly PackedFrame[], maxBytes: number): PackedFrame[] {
  let bytes = 0
  // JSON stands inside JSON here: each quote is escaped.
  const end = frames.findIndex((frame) => (bytes += Buffer.byteLength(JSON.stringify(frame)) + 1) > maxBytes)
  return frames.slice(0, end < 0 ? frames.length : end)
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

/** Frames of channels that came lately: the sessions of a node read the same ones, and keep each once. */
export class FrameCache {
  readonly #frames = new Map<string, EncodedFrame>()
  #bytes = 0

  unpack(packed: PackedFrame): EncodedFrame {
    const { h, d, b, c, s } = packed
    if (c === undefined) return unpackEncoded(packed)
    const key = JSON.stringify([h, d, b, c, s])
    const known = this.#frames.get(key)
    if (known) return known
    const frame = unpackEncoded(packed)
    this.#frames.set(key, frame)
    this.#bytes += frame.bytes
    while (this.#bytes > maxCachedBytes) {
      const [oldest, { bytes }] = this.#frames.entries().next().value!
      this.#frames.delete(oldest)
      this.#bytes -= bytes
    }
    return frame
  }

  clear(): void {
    this.#frames.clear()
    this.#bytes = 0
  }
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
