import { sizeOf } from './bytes.js'
import { readFrame, readHeader } from './codec.js'
import { EverwireError } from './errors.js'
import { createEventStreamParser } from './event-stream.js'
import { isForeignKind, type Frame, type Payload } from './frame.js'
import * as defaults from './limits.js'

/*
 * What a server does beyond reading: it trusts no client, so every field is checked, and every size. A client believes
 * the server that its application chose; a frame that makes no sense costs it the link.
 */

/*
 * Shapes of the headers, field by field: s string, n whole number from 0, o object; a capital letter may be
 * missing or null. Fields after the shape are ignored, so that a newer peer may add some.
 */
const shapes: Record<string, string> = {
  m: 'sS',
  gap: 'ssSN',
  sub: 'sSN',
  unsub: 'sS',
  ack: 'nSN',
  err: 'nsSN',
  reply: 'n',
  req: 'sN',
  pub: 'ssSN',
  void: 'n',
  presence: 's',
  hello: 'o',
  welcome: 'o',
  attach: 'o',
  uplink: 'o',
  refuse: 'sSN',
  ping: 'n',
  pong: 'n',
  seen: 'n',
  superseded: '',
  stale: 'N',
  drain: 'S',
  close: 'sSN',
}

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0

const fits: Record<string, (value: unknown) => boolean> = {
  s: (value) => typeof value === 'string',
  n: isCount,
  o: (value) => typeof value === 'object' && !Array.isArray(value),
}

export const headerFits = ([kind, ...fields]: Frame['header']): boolean => {
  if (isForeignKind(kind)) return true
  // History: offset, previous. Live: run, number, previous.
  const counts = kind !== 'm' ? '' : typeof fields[2] === 'string' ? 'snn' : 'nn'
  return [...(shapes[kind]! + counts)].every((letter, i) => {
    const type = letter.toLowerCase()
    // A missing field in the middle is written as null, because JSON has no other word for it.
    return fields[i] == null ? type !== letter : fits[type]!(fields[i])
  })
}

const checked = (header: Frame['header']): Frame['header'] => {
  if (headerFits(header)) return header
  throw new EverwireError('bad-frame', `header of ${header[0].slice(0, 40)}`)
}

/**
 * Reads a header line, and checks its fields.
 * @throws EverwireError `bad-frame` when it is not a header, `unknown-frame` when its kind is not known
 */
export const parseHeader = (line: Payload): Frame['header'] => checked(readHeader(line))

export interface ParseOptions {
  /** The payload is opaque bytes, not JSON. */
  binary?: boolean
  /** Largest frame in bytes. @default 65536 */
  maxBytes?: number
}

const assertSize = (bytes: number, maxBytes: number) => {
  if (bytes > maxBytes) throw new EverwireError('frame-too-large', `${bytes} bytes, at most ${maxBytes}`)
}

/**
 * Reads a frame, and checks it; the payload stays as it came, a view on `input` where that is bytes.
 * @throws EverwireError `bad-frame`, `unknown-frame`, or `frame-too-large`
 */
export function parseFrame(
  input: Payload,
  { binary = false, maxBytes = defaults.frameBytes }: ParseOptions = {},
): Frame {
  assertSize(sizeOf(input), maxBytes)
  const frame = readFrame(input, binary)
  checked(frame.header)
  return frame
}

/** Reads a whole body of events, and checks it. @throws as `parseFrame`, and `bad-frame` when it ends in mid-event */
export function parseEvents(
  body: string,
  { maxBytes = defaults.frameBytes }: Pick<ParseOptions, 'maxBytes'> = {},
): Frame[] {
  const frames: Frame[] = []
  createEventStreamParser((frame, head) => {
    checked(frame.header)
    assertSize(sizeOf(head) + (frame.data === undefined ? 0 : 1 + sizeOf(frame.data)), maxBytes)
    frames.push(frame)
  }).push(body)
  if (!/(?:\n\n|\r\n\r\n|\r\r)$/.test(body))
    throw new EverwireError('bad-frame', 'the body ends in mid-event')
  return frames
}
