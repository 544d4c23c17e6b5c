import { fromBase64, fromUtf8, sizeOf, toBase64, utf8 } from './bytes.js'
import { assertSize, parseHeader, textOf } from './codec.js'
import { EverwireError } from './errors.js'
import type { EncodedFrame, Frame } from './frame.js'
import * as defaults from './limits.js'

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
  const text = binary ? '' : textOf(data)
  return binary || unsafe.test(text)
    ? `event: ${binary ? 'b' : 't'}\ndata: ${head}\ndata: ${toBase64(typeof data === 'string' ? utf8(data) : data)}\n\n`
    : `data: ${head}\ndata: ${text.replaceAll('\n', '\ndata: ')}\n\n`
}

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
  let rest = ''
  let lines: string[] = []
  let held = 0
  let type = ''
  let afterCr = false

  const line = (text: string) => {
    if (text !== '') {
      const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(text)!
      if (field === 'event') type = value
      if (field === 'data') {
        lines.push(value)
        held += value.length + 1
      }
      return
    }
    const [head, ...more] = lines
    const kind = type
    lines = []
    held = 0
    type = ''
    if (head === undefined) return
    const frame = read(kind, head, more)
    assertSize(sizeOf(head) + (frame.data === undefined ? 0 : 1 + sizeOf(frame.data)), maxBytes)
    onFrame(frame)
  }

  return {
    push(text) {
      let start = 0
      // A CR that ended the last piece and an LF that begins this one are one line end.
      if (afterCr && text[0] === '\n') start = 1
      if (text !== '') afterCr = text.endsWith('\r')
      const lineEnd = /\r\n?|\n/g
      lineEnd.lastIndex = start
      for (let match = lineEnd.exec(text); match; match = lineEnd.exec(text)) {
        const whole = rest + text.slice(start, match.index)
        rest = ''
        start = lineEnd.lastIndex
        line(whole)
      }
      rest += text.slice(start)
      // base64 takes 4/3; what is larger than this cannot be a legal frame.
      assertSize(held + rest.length, Math.ceil(maxBytes * 1.34) + 1024)
    },
  }
}

function read(type: string, head: string, more: readonly string[]): Frame {
  const header = parseHeader(head)
  if (type === '') return more.length === 0 ? { header } : { header, data: more.join('\n'), binary: false }
  try {
    const bytes = fromBase64(more.join(''))
    if (type === 'b') return { header, data: bytes, binary: true }
    if (type === 't') return { header, data: fromUtf8(bytes), binary: false }
  } catch (cause) {
    throw new EverwireError('bad-frame', 'no base64', { cause })
  }
  throw new EverwireError('bad-frame', `event ${type.slice(0, 40)}`)
}

/** Reads a whole body. @throws as `push` does, and `bad-frame` when it ends in mid-event */
export function parseEvents(body: string, options?: { maxBytes?: number }): Frame[] {
  const frames: Frame[] = []
  createEventStreamParser((frame) => frames.push(frame), options).push(body)
  if (!/(?:\n\n|\r\n\r\n|\r\r)$/.test(body))
    throw new EverwireError('bad-frame', 'the body ends in mid-event')
  return frames
}
