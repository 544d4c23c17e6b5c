import { fromUtf8, utf8, utf8Length } from './bytes.js'
import { EverwireError } from './errors.js'
import { headerFits, type EncodedFrame, type Frame, type Payload } from './frame.js'
import { defaults } from './limits.js'

/*
 * A frame is its header, a JSON array in one line, and for frames that carry data a newline and the payload, raw.
 * PROTOCOL.md, "Frames".
 */

const newline = 10

/** The frame as text. Only for frames whose payload is not binary. */
export function frameText({ head, data }: EncodedFrame): string {
  return data === undefined ? head : `${head}\n${typeof data === 'string' ? data : fromUtf8(data)}`
}

/** The frame as bytes. */
export function frameBytes({ head, data }: EncodedFrame): Uint8Array {
  if (data === undefined || typeof data === 'string')
    return utf8(data === undefined ? head : `${head}\n${data}`)
  const start = utf8(head)
  const bytes = new Uint8Array(start.length + 1 + data.length)
  bytes.set(start)
  bytes[start.length] = newline
  bytes.set(data, start.length + 1)
  return bytes
}

/**
 * Reads a header line.
 * @throws EverwireError `bad-frame` when it is not a header, `unknown-frame` when its kind is not known
 */
export function parseHeader(head: string): Frame['header'] {
  let header: unknown
  try {
    header = JSON.parse(head)
  } catch (cause) {
    throw new EverwireError('bad-frame', 'a frame header is not JSON', { cause })
  }
  if (!Array.isArray(header) || typeof header[0] !== 'string')
    throw new EverwireError('bad-frame', 'a frame header is not an array that starts with a kind')
  const fit = headerFits(header)
  if (fit === undefined)
    throw new EverwireError('unknown-frame', `unknown frame kind ${header[0].slice(0, 40)}`)
  if (!fit) throw new EverwireError('bad-frame', `the fields of a ${header[0]} frame do not fit`)
  return header as unknown as Frame['header']
}

export interface ParseOptions {
  /** The payload is opaque bytes, not JSON. */
  binary?: boolean
  /** Largest frame in bytes. @default 65536 */
  maxBytes?: number
}

/**
 * Reads a frame; the payload stays as it came, a view on `input` where that is bytes.
 * @throws EverwireError `bad-frame`, `unknown-frame`, or `frame-too-large`
 */
export function parseFrame(
  input: Payload,
  { binary = false, maxBytes = defaults.frameBytes }: ParseOptions = {},
): Frame {
  const size = typeof input === 'string' ? utf8Length(input) : input.length
  if (size > maxBytes)
    throw new EverwireError('frame-too-large', `a frame has ${size} bytes, the limit is ${maxBytes}`)
  const end = typeof input === 'string' ? input.indexOf('\n') : input.indexOf(newline)
  const head = end < 0 ? input : input.slice(0, end)
  let text: string
  try {
    text = typeof head === 'string' ? head : fromUtf8(head)
  } catch (cause) {
    throw new EverwireError('bad-frame', 'a frame header is not UTF-8', { cause })
  }
  const header = parseHeader(text)
  if (end < 0) return { header }
  return { header, data: typeof input === 'string' ? input.slice(end + 1) : input.subarray(end + 1), binary }
}

/** What the receiver of an encoded frame reads. */
export const decode = ({ head, data, binary }: EncodedFrame): Frame =>
  data === undefined ? { header: parseHeader(head) } : { header: parseHeader(head), data, binary }
