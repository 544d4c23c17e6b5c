import { fromBase64, fromUtf8, toBase64, utf8, utf8Length } from './bytes.js'
import { parseHeader } from './codec.js'
import { EverwireError } from './errors.js'
import type { EncodedFrame, Frame } from './frame.js'
import { defaults } from './limits.js'

/*
 * The one encoding of the HTTP transports, in both directions: an event stream
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html) in which each event is one frame. `data` lines
 * joined by newlines are the frame's text. What a line cannot carry goes as base64 after the header: event `b` for a
 * binary payload, event `t` for text with CR or NUL (X18 in the tests: a CR in a line is a line end).
 */

export const eventStreamType = 'text/event-stream'

const unsafe = /[\r\0]/

/** One frame as one event. */
export function encodeEvent({ head, data, binary }: EncodedFrame): string {
  if (data === undefined) return `data: ${head}\n\n`
  if (binary) return base64Event('b', head, typeof data === 'string' ? utf8(data) : data)
  const text = typeof data === 'string' ? data : fromUtf8(data)
  if (unsafe.test(text)) return base64Event('t', head, utf8(text))
  return `data: ${head}\ndata: ${text.includes('\n') ? text.replaceAll('\n', '\ndata: ') : text}\n\n`
}

const base64Event = (type: string, head: string, bytes: Uint8Array) =>
  `event: ${type}\ndata: ${head}\ndata: ${toBase64(bytes)}\n\n`

export const encodeEvents = (frames: readonly EncodedFrame[]): string => frames.map(encodeEvent).join('')

/** A comment: keeps a path open, means nothing. */
export const comment = ':\n\n'

export interface EventStreamParser {
  /** Takes decoded text as it comes, in pieces of any size; calls back for each whole frame. */
  push(text: string): void
}

/**
 * Reads frames from an event stream, incrementally, with a bounded buffer.
 * `push` throws EverwireError `bad-frame`, `unknown-frame` or `frame-too-large`.
 */
export function createEventStreamParser(
  onFrame: (frame: Frame) => void,
  { maxBytes = defaults.frameBytes }: { maxBytes?: number } = {},
): EventStreamParser {
  // base64 takes 4/3; what is larger than this cannot be a legal frame.
  const maxBuffer = Math.ceil(maxBytes * 1.34) + 1024
  let rest = ''
  let lines: string[] = []
  let held = 0
  let type = ''
  let afterCr = false

  const dispatch = () => {
    const [head, ...more] = lines
    const kind = type
    lines = []
    held = 0
    type = ''
    if (head === undefined) return
    const frame = read(kind, head, more)
    const size = utf8Length(head) + (frame.data === undefined ? 0 : 1 + payloadBytes(frame.data))
    if (size > maxBytes)
      throw new EverwireError('frame-too-large', `a frame has ${size} bytes, the limit is ${maxBytes}`)
    onFrame(frame)
  }

  const line = (text: string) => {
    if (text === '') return dispatch()
    const colon = text.indexOf(':')
    if (colon === 0) return
    const field = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? '' : text.slice(text[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (field === 'event') type = value
    else if (field === 'data') {
      lines.push(value)
      held += value.length + 1
    }
  }

  return {
    push(text) {
      let start = 0
      // A CR that ended the last piece and an LF that begins this one are one line end.
      if (afterCr && text[0] === '\n') start = 1
      if (text !== '') afterCr = text.endsWith('\r')
      const lineEnd = /\r\n|\r|\n/g
      lineEnd.lastIndex = start
      for (let match = lineEnd.exec(text); match; match = lineEnd.exec(text)) {
        const whole = rest + text.slice(start, match.index)
        rest = ''
        start = match.index + match[0].length
        line(whole)
      }
      rest += text.slice(start)
      if (held + rest.length > maxBuffer)
        throw new EverwireError(
          'frame-too-large',
          `an event is longer than a frame of ${maxBytes} bytes can be`,
        )
    },
  }
}

const payloadBytes = (data: string | Uint8Array) =>
  typeof data === 'string' ? utf8Length(data) : data.length

function read(type: string, head: string, more: readonly string[]): Frame {
  const header = parseHeader(head)
  if (type === '') return more.length === 0 ? { header } : { header, data: more.join('\n'), binary: false }
  if (type !== 'b' && type !== 't')
    throw new EverwireError('bad-frame', `unknown event type ${type.slice(0, 40)}`)
  let bytes: Uint8Array
  try {
    bytes = fromBase64(more.join(''))
    return type === 'b'
      ? { header, data: bytes, binary: true }
      : { header, data: fromUtf8(bytes), binary: false }
  } catch (cause) {
    throw new EverwireError('bad-frame', 'the payload of an event is not base64', { cause })
  }
}

/** Reads a whole body. @throws as `push` does, and `bad-frame` when it ends in mid-event */
export function parseEvents(body: string, options?: { maxBytes?: number }): Frame[] {
  const frames: Frame[] = []
  createEventStreamParser((frame) => frames.push(frame), options).push(body)
  if (!/(?:\n\n|\r\n\r\n|\r\r)$/.test(body))
    throw new EverwireError('bad-frame', 'the body ends in mid-event')
  return frames
}
