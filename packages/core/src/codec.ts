import { fromUtf8, sizeOf, utf8 } from './bytes.js'
import { EverwireError } from './errors.js'
import { headerFits, type EncodedFrame, type Frame, type Payload } from './frame.js'
import * as defaults from './limits.js'

/*
 * A frame is its header, a JSON array in one line, and for frames that carry data a newline and the payload, raw.
 * PROTOCOL.md, "Frames".
 */

const newline = 10

/** @throws TypeError when the bytes are not UTF-8 */
export const textOf = (data: Payload): string => (typeof data === 'string' ? data : fromUtf8(data))

/** The frame as text. Only for frames whose payload is not binary. */
export const frameText = ({ head, data }: EncodedFrame): string =>
  data === undefined ? head : `${head}\n${textOf(data)}`

/** The frame as bytes. */
export function frameBytes(frame: EncodedFrame): Uint8Array {
  const { head, data } = frame
  if (data === undefined || typeof data === 'string') return utf8(frameText(frame))
  const start = utf8(`${head}\n`)
  const bytes = new Uint8Array(start.length + data.length)
  bytes.set(start)
  bytes.set(data, start.length)
  return bytes
}

/**
 * Reads a header line.
 * @throws EverwireError `bad-frame` when it is not a header, `unknown-frame` when its kind is not known
 */
export function parseHeader(line: Payload): Frame['header'] {
  let header: unknown
  try {
    header = JSON.parse(textOf(line))
  } catch (cause) {
    throw new EverwireError('bad-frame', 'no JSON', { cause })
  }
  const fit = Array.isArray(header) && headerFits(header)
  if (fit) return header as unknown as Frame['header']
  const kind = String((header as unknown[] | null)?.[0]).slice(0, 40)
  throw new EverwireError(fit === undefined ? 'unknown-frame' : 'bad-frame', `header of ${kind}`)
}

export interface ParseOptions {
  /** The payload is opaque bytes, not JSON. */
  binary?: boolean
  /** Largest frame in bytes. @default 65536 */
  maxBytes?: number
}

/** @throws EverwireError `frame-too-large` */
export function assertSize(bytes: number, maxBytes: number): void {
  if (bytes > maxBytes) throw new EverwireError('frame-too-large', `${bytes} bytes, at most ${maxBytes}`)
}

/**
 * Reads a frame; the payload stays as it came, a view on `input` where that is bytes.
 * @throws EverwireError `bad-frame`, `unknown-frame`, or `frame-too-large`
 */
export function parseFrame(
  input: Payload,
  { binary = false, maxBytes = defaults.frameBytes }: ParseOptions = {},
): Frame {
  assertSize(sizeOf(input), maxBytes)
  const isText = typeof input === 'string'
  const end = isText ? input.indexOf('\n') : input.indexOf(newline)
  if (end < 0) return { header: parseHeader(input) }
  const data = isText ? input.slice(end + 1) : input.subarray(end + 1)
  return { header: parseHeader(input.slice(0, end)), data, binary }
}

/** What the receiver of an encoded frame reads. */
export const decode = ({ head, data, binary }: EncodedFrame): Frame =>
  data === undefined ? { header: parseHeader(head) } : { header: parseHeader(head), data, binary }
