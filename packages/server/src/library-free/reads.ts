import { EverwireError, type Clock, type Position } from '@everwire/core'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Admitted, ChannelAccess } from './access.js'
import { cacheControl, isKnown, sendRefusal, type Freshness } from './answer.js'
import { draftEvents, nativeEvents } from './events.js'
import { readOldest, readPage, readTail, type ChannelPage, type Gone } from './page.js'
import { createChannelPoll, type Polled } from './poll.js'
import { MessageCache } from './reader.js'
import { readRequest, type ReadRequest } from './request.js'
import { between, createChannelStream } from './stream.js'
import { createFlushScheduler } from '../flush-scheduler.js'
import type { Hub } from '../channels/hub.js'
import { OpenStreams } from './open-streams.js'
import { liveToken, positionToken, type Start } from './position-token.js'
import { nextCursor } from './stream-cursor.js'

export interface ChannelReadsOptions {
  hub: Hub
  access: ChannelAccess
  clock: Clock
  heartbeatMs: number
  pollWaitMs: number
  maxStreams: number
  streamMs: number
  streamBytes: number
  chunkSize: number
  chunkBytes: number
}

/** A reader that was let in, and what it asks for. */
interface Reading extends Admitted {
  request: ReadRequest
  reply: FastifyReply
  ifNoneMatch: string | undefined
  start: Start
}

/** Streams end at random times in the last quarter of their life, so that readers do not come back in herds. */
const leastLife = 0.75
/** When the server closes, its readers find other nodes within this. */
const awayMs = { least: 500, most: 3_000 }

/** Reading channels without a library: a page, a poll that is held, or an event stream. */
export class ChannelReads {
  readonly #options: ChannelReadsOptions
  readonly #open: OpenStreams
  readonly #schedule = createFlushScheduler()
  readonly #messages = new MessageCache()

  constructor(options: ChannelReadsOptions) {
    this.#options = options
    this.#open = new OpenStreams(options.maxStreams)
  }

  /** What is held open now. */
  get size(): number {
    return this.#open.size
  }

  async get(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const asked = readRequest(request)
    const isPage = asked.mode === 'page'
    if (!isPage) this.#open.assertRoom()
    const admitted = await this.#options.access.admit(request, asked)
    try {
      if (admitted.rule.public) reply.header('cross-origin-resource-policy', 'cross-origin')
      const start = asked.start ?? (isPage ? 'beginning' : 'now')
      const reading = {
        ...admitted,
        request: asked,
        reply,
        ifNoneMatch: request.headers['if-none-match'],
        start,
      }
      if (isPage) return await this.#page(reading)
      return await (asked.mode === 'poll' ? this.#poll(reading) : this.#stream(reading))
    } catch (error) {
      admitted.giveBack()
      throw error
    }
  }

  async head(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { key, visitor } = await this.#options.access.admit(request, readRequest(request))
    const tail = await readTail(this.#options.hub, key)
    visitor.assertStays()
    return reply.header('content-type', 'application/json').header('stream-next-offset', tail).send()
  }

  /** Ends what is open, so that readers go on elsewhere. */
  close(): void {
    this.#open.close()
  }

  async #page(reading: Reading): Promise<FastifyReply> {
    const { hub } = this.#options
    const { key, rule, start, reply, visitor } = reading
    if (start === 'now') {
      const next = await readTail(hub, key)
      visitor.assertStays()
      return sendMessages(reply, { messages: [], next, current: true })
    }
    if (!rule.history) return this.#livePage(reading)
    const page = await readPage(hub, key, start, this.#options)
    visitor.assertStays()
    if ('reason' in page) return sendGone(reply, page)
    const isWhole = typeof start === 'object' && !page.upToDate
    return sendPage(reading, page, isWhole ? 'immutable' : 'tail')
  }

  #livePage({ start, reply }: Reading): FastifyReply {
    if (start === 'beginning') throw noHistory()
    if (start !== 'live') return sendGone(reply, { reason: 'epoch', next: liveToken })
    reply.header('everwire-gap', 'session')
    return sendMessages(reply, { messages: [], next: liveToken, current: true })
  }

  async #poll(reading: Reading): Promise<FastifyReply> {
    const { hub } = this.#options
    const { key, rule, start, reply, request, visitor } = reading
    const { history } = rule
    if (!history && start === 'beginning') throw noHistory()
    if (!history && typeof start === 'object') return sendGone(reply, { reason: 'epoch', next: liveToken })
    if (!history && start === 'live') reply.header('everwire-gap', 'session')
    reply.header('stream-cursor', nextCursor(request.cursor, Date.now(), Math.random))
    let from: Position | undefined
    if (history && start !== 'now') {
      const page = await readPage(hub, key, start, this.#options)
      visitor.assertStays()
      if ('reason' in page) return sendGone(reply, page)
      if (page.messages.length > 0) return sendPage(reading, page, 'interval')
      from = page.next
    }
    const polled = await this.#wait(reading, from)
    if (polled.gap !== undefined && from) {
      // What is missing, and whether it is, a second reading tells.
      const page = await readPage(hub, key, from, this.#options)
      visitor.assertStays()
      if ('reason' in page) return sendGone(reply, page)
      if (page.messages.length > 0) return sendPage(reading, page, 'interval')
      return sendNothing(reply, positionToken(from))
    }
    if (polled.gap !== undefined) reply.header('everwire-gap', polled.gap)
    if (polled.messages.length === 0) return sendNothing(reply, polled.next)
    const freshness = from ? 'interval' : 'none'
    reply.header('cache-control', cacheControl(rule, freshness))
    if (from) reply.header('etag', `"${positionToken(from)}:${polled.next}"`)
    return sendMessages(reply, polled)
  }

  async #wait(reading: Reading, from: Position | undefined): Promise<Polled> {
    const { hub, clock, pollWaitMs, chunkBytes } = this.#options
    const { key, visitor, expiresAt, reply } = reading
    assertThere(reading)
    const poll = createChannelPoll({
      hub,
      key,
      userId: visitor.userId,
      clock,
      waitMs: Math.max(0, Math.min(pollWaitMs, expiresAt - Date.now())),
      roomBytes: chunkBytes,
      schedule: this.#schedule,
      messages: this.#messages,
    })
    const release = this.#open.hold(() => poll.end(closing()))
    visitor.onEnd = (why) => poll.end(why)
    reply.raw.once('close', () => poll.end(closing()))
    return await poll.wait(from).finally(release)
  }

  async #stream(reading: Reading): Promise<FastifyReply> {
    const { hub, clock, heartbeatMs, streamMs, streamBytes } = this.#options
    const { key, visitor, expiresAt, grant, reply, rule, start, request } = reading
    const isDraft = request.mode === 'draft-stream'
    const from = await this.#streamStart(reading)
    visitor.assertStays()
    if (typeof from === 'object' && 'reason' in from) return sendGone(reply, from)
    assertThere(reading)
    const missed = !rule.history && start !== 'now'
    if (missed) reply.header('everwire-gap', 'session')
    const lifetimeMs = streamMs * (leastLife + Math.random() * (1 - leastLife))
    const stream = createChannelStream({
      reply,
      format: isDraft
        ? draftEvents(() => nextCursor(request.cursor, Date.now(), Math.random))
        : nativeEvents(grant === undefined ? '' : `.${grant}`),
      hub,
      key,
      userId: visitor.userId,
      clock,
      heartbeatMs,
      lifetimeMs: Math.max(0, Math.min(lifetimeMs, expiresAt - Date.now())),
      streamBytes,
      schedule: this.#schedule,
      messages: this.#messages,
      missed,
      closed: () => release(),
    })
    const release = this.#open.hold(() => stream.end(between(awayMs), closing()))
    visitor.onEnd = (why) => stream.end(between(awayMs), why)
    await stream.open(from)
    return reply
  }

  async #streamStart({ key, rule, start, request }: Reading): Promise<Position | Gone | undefined> {
    const { hub } = this.#options
    if (start === 'now') return undefined
    if (!rule.history) {
      if (start === 'beginning') throw noHistory()
      // Where the present cannot be told from the past, only the draft's readers are sent back.
      const isOther = typeof start === 'object' && request.mode === 'draft-stream'
      return isOther ? { reason: 'epoch', next: liveToken } : undefined
    }
    if (start === 'beginning') return await readOldest(hub, key)
    if (request.mode === 'native-stream') return start === 'live' ? noPosition : start
    const page = await readPage(hub, key, start, { chunkSize: 1, chunkBytes: 1 })
    if ('reason' in page) return page
    return start === 'live' ? noPosition : start
  }
}

/** A position that no channel has: the hub tells a gap, and goes on from the newest. */
const noPosition: Position = { epoch: '', offset: 0 }

const closing = () => new EverwireError('server-closing', 'the server is closing')

/**
 * Before anything is held open: who went away while something was awaited closes nothing any more.
 * @throws EverwireError `closed`
 */
function assertThere({ reply }: Reading): void {
  if (reply.raw.destroyed || reply.request.raw.socket.destroyed)
    throw new EverwireError('closed', 'the client has gone away')
}

const noHistory = () =>
  new EverwireError('no-history', 'the channel keeps no history: read it from offset=now on')

function sendPage(
  { reply, rule, ifNoneMatch }: Reading,
  { messages, next, upToDate, tag }: ChannelPage,
  freshness: Freshness,
): FastifyReply {
  const etag = `"${tag}"`
  reply.header('etag', etag).header('cache-control', cacheControl(rule, freshness))
  const body = { messages: messages.map((json) => ({ json })), next: positionToken(next), current: upToDate }
  return sendMessages(reply, body, isKnown(ifNoneMatch, etag))
}

function sendMessages(
  reply: FastifyReply,
  { messages, next, current }: { messages: readonly { json: string }[]; next: string; current: boolean },
  known = false,
): FastifyReply {
  reply.header('stream-next-offset', next)
  if (current) reply.header('stream-up-to-date', 'true')
  if (known) return reply.code(304).send()
  return reply
    .header('content-type', 'application/json')
    .send(`[${messages.map(({ json }) => json).join(',\n')}]`)
}

/** The time of a poll is over. */
const sendNothing = (reply: FastifyReply, next: string): FastifyReply =>
  reply.code(204).header('stream-next-offset', next).header('stream-up-to-date', 'true').send()

/** Says where what is still kept begins. */
function sendGone(reply: FastifyReply, { reason, next }: Gone): FastifyReply {
  reply.header('stream-next-offset', next)
  const why =
    reason === 'epoch'
      ? 'the history of the channel began anew'
      : 'publications after this offset are not kept'
  return sendRefusal(reply, 'gone', { message: `${why}: go on from ${next}`, reason, offset: next })
}
