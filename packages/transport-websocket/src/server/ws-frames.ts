import { constants, deflateRawSync } from 'node:zlib'
import { frameBytes, type EncodedFrame } from '@everwire/core'

export interface FrameWriterOptions {
  /** Frames from this size on are compressed, where the client agreed. Bytes. */
  thresholdBytes: number
}

/** Makes WebSocket messages out of frames. */
export interface FrameWriter {
  /** The whole of it as one piece, ready for the socket. */
  encode(frames: readonly EncodedFrame[], deflate: boolean): Uint8Array
}

/**
 * Builds each message of a server (RFC 6455 §5.2: final, unmasked) once, however many links carry it, and compresses
 * it once (RFC 7692 with no context taken over), at most.
 */
export function createFrameWriter({ thresholdBytes }: FrameWriterOptions): FrameWriter {
  const plain = new WeakMap<EncodedFrame, Buffer>()
  const deflated = new WeakMap<EncodedFrame, Buffer>()

  const one = (frame: EncodedFrame, deflate: boolean): Buffer => {
    const compress = deflate && frame.compress === true && frame.bytes >= thresholdBytes
    const cache = compress ? deflated : plain
    const known = cache.get(frame)
    if (known) return known
    const payload = frameBytes(frame)
    const message = wrap(compress ? deflateMessage(payload) : payload, frame.binary === true, compress)
    // Only publications go to many; the rest is written once.
    if (frame.channel !== undefined) cache.set(frame, message)
    return message
  }
  return {
    encode: (frames, deflate) =>
      frames.length === 1
        ? one(frames[0]!, deflate)
        : Buffer.concat(frames.map((frame) => one(frame, deflate))),
  }
}

/** RFC 7692 §7.2.1: deflate, flush, and leave the last four bytes out. */
const deflateMessage = (payload: Uint8Array) =>
  deflateRawSync(payload, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4)

function wrap(payload: Uint8Array, binary: boolean, compressed: boolean): Buffer {
  const { length } = payload
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8
  const message = Buffer.allocUnsafeSlow(2 + extended + length)
  message[0] = 0x80 | (compressed ? 0x40 : 0) | (binary ? 2 : 1)
  message[1] = extended === 0 ? length : extended === 2 ? 126 : 127
  if (extended === 2) message.writeUInt16BE(length, 2)
  else if (extended === 8) message.writeBigUInt64BE(BigInt(length), 2)
  message.set(payload, 2 + extended)
  return message
}
