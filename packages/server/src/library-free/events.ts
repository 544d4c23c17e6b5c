import { comment, type GapReason } from '@everwire/core'
import type { ChannelMessage } from './reader.js'

/** How a channel is written as an event stream. */
export interface EventFormat {
  /** What comes first. */
  open(next: string): string
  batch(messages: readonly ChannelMessage[], next: string, current: boolean): string
  gap(reason: GapReason, next: string): string
  /** A gap can be told, and the stream goes on; else it ends after it, and the next request is answered `gone`. */
  readonly survivesGaps: boolean
}

export const heartbeat = comment

export const retryAfter = (ms: number): string => `retry: ${Math.round(ms)}\n\n`

/** A refusal for a time: whatever has another status than 200 would stop an EventSource for good. */
export const refusalEvent = (code: string, message: string): string =>
  event('refuse', JSON.stringify({ code, message }))

/**
 * For EventSource as browsers have it: one event per publication, and the position as its id.
 * @param suffix comes back with the id, and is no part of the position
 */
export function nativeEvents(suffix = ''): EventFormat {
  let last = ''
  const id = (token: string) => `id: ${(last = token)}${suffix}\n`
  return {
    survivesGaps: true,
    open: (next) => `${id(next)}\n`,
    batch(messages, next) {
      const events = messages.map(
        ({ offset, json }) => `${offset ? id(offset) : ''}data: ${oneLine(json)}\n\n`,
      )
      // An id of its own moves the position and shows nothing.
      if (next !== last) events.push(`${id(next)}\n`)
      return events.join('')
    },
    gap: (reason, next) => id(next) + event('gap', JSON.stringify({ reason, offset: next })),
  }
}

/** As the Durable Streams draft has it: batches, each followed by where it ends. */
export function draftEvents(cursor: () => string): EventFormat {
  return {
    survivesGaps: false,
    open: () => '',
    batch(messages, next, current) {
      const lines = messages.map(({ json }, index) => `data: ${index === 0 ? '[' : ','}${oneLine(json)}\n`)
      const data = lines.length === 0 ? '' : `event: data\n${lines.join('')}data: ]\n\n`
      const control = {
        streamNextOffset: next,
        streamCursor: cursor(),
        ...(current ? { upToDate: true } : {}),
      }
      return data + event('control', JSON.stringify(control))
    },
    gap: (reason, next) => event('gap', JSON.stringify({ reason, offset: next })),
  }
}

const event = (type: string, data: string) => `event: ${type}\ndata: ${data}\n\n`

/** A line end in JSON text stands between tokens only, where a space does as well. */
const oneLine = (json: string) => (/[\r\n]/.test(json) ? json.replaceAll(/[\r\n]/g, ' ') : json)
