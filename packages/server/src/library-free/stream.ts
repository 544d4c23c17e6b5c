import type { OutgoingHttpHeaders } from 'node:http'
import {
  streamHeaders,
  type Cancel,
  type Clock,
  type EverwireError,
  type GapReason,
  type Position,
} from '@everwire/core'
import type { FastifyReply } from 'fastify'
import { heartbeat, retryAfter, type EventFormat } from './events.js'
import { ChannelReader, type ChannelMessage, type ChannelReaderOptions, type ChannelSink } from './reader.js'

export interface ChannelStreamOptions extends Omit<ChannelReaderOptions, 'sink' | 'roomBytes'> {
  reply: FastifyReply
  format: EventFormat
  clock: Clock
  heartbeatMs: number
  /** How long it lasts at most. */
  lifetimeMs: number
  /** Bytes that may wait in the socket; beyond it the reader is too slow, and the stream ends. */
  streamBytes: number
  /** The reader comes again in a channel that keeps nothing: what came in between is lost. */
  missed: boolean
  /** It is over, however it ended. */
  closed(): void
}

export interface ChannelStream {
  /** Resolves once it is open. Rejects when it cannot be; nothing is answered then. */
  open(from: Position | undefined): Promise<void>
  /** Ends it politely: the reader comes back soon, and goes on where it stands. One that is not open is refused. */
  end(retryMs: number, refusal: EverwireError): void
}

/** How long the end of a stream may take to leave. */
const closeTimeoutMs = 30_000
/** A reader whose connection breaks off comes back after a random time in this range. */
const retryMs = { least: 1_000, most: 3_000 }
/** One whose stream ended on purpose comes back after a shorter one. */
const soonMs = { least: 50, most: 500 }

export const between = ({ least, most }: { least: number; most: number }) =>
  least + Math.random() * (most - least)

/** A channel as an event stream over one response. It ends sooner than proxies do, and nothing is lost by that. */
export function createChannelStream(options: ChannelStreamOptions): ChannelStream {
  const { reply, format, clock, heartbeatMs, lifetimeMs, streamBytes, missed, closed } = options
  const { raw: response } = reply
  let state: 'new' | 'open' | 'over' = 'new'
  let isQuiet = true
  let cancelBeat: Cancel = () => {}
  let cancelEnd: Cancel = () => {}
  let refusal: EverwireError | undefined

  const drained = () => reader.drained()
  const write = (text: string) => {
    if (state !== 'open' || text === '') return
    isQuiet = false
    // Not `drain`, which comes only when more waits than the socket likes.
    response.write(text, drained)
    if (response.writableLength > streamBytes) end(between(soonMs))
  }
  const finish = () => {
    if (state === 'over') return
    state = 'over'
    cancelBeat()
    cancelEnd()
    reader.stop()
    closed()
  }
  const end = (ms: number) => {
    if (state !== 'open') return finish()
    response.end(retryAfter(ms))
    finish()
    // A peer that reads no more would hold the connection, and what it buffers, for ever.
    const cancel = clock.after(closeTimeoutMs, () => response.destroy())
    response.once('close', cancel)
  }
  const beat = () => {
    cancelBeat = clock.after(heartbeatMs, beat)
    if (isQuiet) write(heartbeat)
    isQuiet = true
  }
  const start = () => {
    if (state === 'over') return
    state = 'open'
    cancelBeat = clock.after(heartbeatMs, beat)
    cancelEnd = clock.after(lifetimeMs, () => end(between(soonMs)))
    reply.hijack()
    response.writeHead(200, { ...(reply.getHeaders() as OutgoingHttpHeaders), ...streamHeaders })
    const told = missed && format.survivesGaps ? format.gap('session', reader.token) : ''
    write(retryAfter(between(retryMs)) + format.open(reader.token) + told)
  }

  const sink: ChannelSink = {
    get waitingBytes() {
      return response.writableLength
    },
    batch: (messages: readonly ChannelMessage[], next: string, current: boolean) =>
      write(format.batch(messages, next, current)),
    gap(reason: GapReason, next: string) {
      // More than is sent again at a time, but it is kept: the next stream goes on from here.
      if (reason === 'limit') return end(between(soonMs))
      write(format.gap(reason, next))
      if (!format.survivesGaps) end(between(soonMs))
    },
    // The next request is told why.
    removed: () => end(between(soonMs)),
  }
  const reader = new ChannelReader({ ...options, sink, roomBytes: streamBytes / 2 })

  return {
    async open(from) {
      response.on('close', finish)
      response.on('error', finish)
      try {
        await reader.start(from, start)
      } catch (error) {
        finish()
        throw refusal ?? error
      }
    },
    end(ms, reason) {
      refusal = reason
      end(ms)
    },
  }
}
