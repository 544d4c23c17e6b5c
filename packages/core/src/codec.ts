import { fromUtf8, utf8 } from './bytes.js'
import { EverwireError } from './errors.js'
import { isKnownKind, type EncodedFrame, type Frame, type Payload } from './frame.js'

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
 * Reads a header line; its fields are taken as they are.
 * @throws EverwireError `bad-frame` when it is not a header, `unknown-frame` when its kind is not known
 */
export function readHeader(line: Payload): Frame['header'] {
  let header: unknown
  try {
    header = JSON.parse(textOf(line))
  } catch {}
  const kind = Array.isArray(header) && (header[0] as unknown)
  if (typeof kind !== 'string') throw new EverwireError('bad-frame')
  if (!isKnownKind(kind)) throw new EverwireError('unknown-frame', kind.slice(0, 40))
  return header as Frame['header']
}

/** Reads a frame as `readHeader` does; the payload stays as it came, a view on `input` where that is bytes. */
export function readFrame(input: Payload, binary: boolean): Frame {
  const isText = typeof input === 'string'
  const end = isText ? input.indexOf('\n') : input.indexOf(newline)
  if (end < 0) return { header: readHeader(input) }
  const data = isText ? input.slice(end + 1) : input.subarray(end + 1)
  return { header: readHeader(input.slice(0, end)), data, binary }
}

/** What the receiver of an encoded frame reads. */
export const decode = ({ head, data, binary }: EncodedFrame): Frame =>
  data === undefined ? { header: readHeader(head) } : { header: readHeader(head), data, binary }
