import { fromBase64, fromUtf8, toBase64, utf8 } from './bytes.js'
import { readHeader, textOf } from './codec.js'
import { EverwireError } from './errors.js'
import type { EncodedFrame, Frame } from './frame.js'

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
 * Reads frames from an event stream, incrementally; each is told with the line of its header.
 * `push` throws EverwireError `bad-frame` or `unknown-frame`.
 */
export function createEventStreamParser(onFrame: (frame: Frame, head: string) => void): EventStreamParser {
  let rest = ''
  let data: string[] = []
  let type = ''
  let afterCr = false

  const line = (text: string) => {
    const [, field, value = ''] = /^(event|data)(?:: ?(.*))?$/s.exec(text) ?? []
    if (field === 'data') data.push(value)
    else if (field) type = value
    if (text) return
    const [head, ...more] = data
    const kind = type
    data = []
    type = ''
    if (head !== undefined) onFrame(read(kind, head, more), head)
  }

  return {
    push(text) {
      if (!text) return
      // A CR that ended the last piece and an LF that begins this one are one line end.
      if (afterCr && text[0] === '\n') text = text.slice(1)
      afterCr = text.endsWith('\r')
      const lines = (rest + text).split(/\r\n?|\n/)
      rest = lines.pop()!
      lines.forEach(line)
    },
  }
}

function read(type: string, head: string, more: readonly string[]): Frame {
  const header = readHeader(head)
  if (!type) return more.length ? { header, data: more.join('\n'), binary: false } : { header }
  try {
    const bytes = fromBase64(more.join(''))
    if (type === 'b') return { header, data: bytes, binary: true }
    if (type === 't') return { header, data: fromUtf8(bytes), binary: false }
  } catch {}
  throw new EverwireError('bad-frame', `event ${type.slice(0, 40)}`)
}
