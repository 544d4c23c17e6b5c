import { createHash } from 'node:crypto'
import {
  EverwireError,
  ownChannel,
  utf8,
  type Bus,
  type GapReason,
  type HistoryPage,
  type HistoryRange,
  type LivePublication,
  type Message,
  type Position,
  type StoredPublication,
} from '@everwire/core'
import type { Metrics } from '../metrics.js'
import { CatchUp } from './catch-up.js'
import {
  gapFrame,
  liveItem,
  ringItem,
  sendItem,
  sendLive,
  type Entry,
  type Reader,
  type Subscription,
} from './entry.js'
import { publicationJson } from './publication.js'
import { Ring } from './ring.js'
import type { ChannelRule, ChannelRules } from './rules.js'
import { Seat } from './seat.js'

/** What recognises a repeated publication, and whose it is. */
export interface PublicationId {
  /** Public to one publisher: a user id, null for the anonymous, undefined for the server itself. */
  userId: string | null | undefined
  id: string
}

export interface HubOptions {
  bus: Bus
  rules: ChannelRules
  ringSize: number
  metrics: Metrics
}

/** Where a reader stands in a channel: at a position, or after the last number of each publisher run. */
export type Standing = { readonly position: Position } | { readonly runs: Readonly<Record<string, number>> }

/** Publisher runs remembered per live channel; a run is one life of one node. */
const maxRuns = 256

/** Channels: who listens, positions, delivery, recovery. Who may, it is told by those who call. */
export class Hub {
  readonly #bus: Bus
  readonly #rules: ChannelRules
  readonly #ringSize: number
  readonly #metrics: Metrics
  readonly #catchUp: CatchUp
  readonly #entries = new Map<string, Entry>()
  readonly #declared = new Map<ChannelRule, Promise<void>>()

  constructor({ bus, rules, ringSize, metrics }: HubOptions) {
    this.#bus = bus
    this.#rules = rules
    this.#ringSize = ringSize
    this.#metrics = metrics
    this.#catchUp = new CatchUp(bus, metrics)
  }

  /** Channels that somebody on this node reads. */
  get size(): number {
    return this.#entries.size
  }

  /** How many on this node read a channel, without the server itself. */
  subscribers(key: string): number {
    let count = 0
    for (const { isServer } of this.#entries.get(key)?.readers.keys() ?? []) if (!isServer) count++
    return count
  }

  /** Name on the bus of a channel as this reader calls it. @throws EverwireError `forbidden` */
  resolve(reader: Pick<Reader, 'userId'>, channel: string): string {
    if (channel !== ownChannel) return channel
    if (reader.userId === null) throw new EverwireError('forbidden', `${ownChannel} needs a user id`)
    return userChannel(reader.userId)
  }

  /** @throws EverwireError `unknown-channel` */
  rule(key: string): ChannelRule {
    return this.#rules.find(key)
  }

  /** Agrees with the bus, once, on what the channels of a rule keep. */
  declare(rule: ChannelRule): Promise<void> {
    let declared = this.#declared.get(rule)
    if (!declared) {
      declared = this.#bus.declare(rule.pattern, rule.history)
      this.#declared.set(rule, declared)
      // It may be asked again: the bus may only have been out of reach.
      declared.catch(() => this.#declared.delete(rule))
    }
    return declared
  }

  /** Stores or broadcasts; with a position where the channel has history. */
  async publish(key: string, message: Message, id?: PublicationId): Promise<Position | undefined> {
    const rule = this.rule(key)
    const { history } = rule
    await this.declare(rule)
    // One copy, exactly sized: a view would keep the whole chunk of the socket alive for as long as it is retained.
    const owned = {
      ...message,
      data: typeof message.data === 'object' ? new Uint8Array(message.data) : message.data,
    }
    if (history) return await this.#bus.store(key, history, owned, { id: id && scopedId(key, id) })
    await this.#bus.broadcast(key, owned)
    return undefined
  }

  /**
   * Joins a channel, from now on or from a position. Resolves once nothing can be missed; `accepted` is called in
   * that same turn with where it starts, before the first publication goes out.
   */
  async subscribe(
    reader: Reader,
    key: string,
    from: Position | undefined,
    accepted: (start: Position | undefined) => void,
  ): Promise<void> {
    this.unsubscribe(reader, key)
    const entry = this.#entry(key)
    const subscription: Subscription = { position: 0, accepted: false, live: false, gone: false }
    entry.readers.set(reader, subscription)
    let ahead = false
    try {
      await entry.ready
      ahead = from !== undefined && (await this.#isAhead(entry, from))
    } catch (error) {
      this.#leave(entry, reader)
      throw error
    }
    // Only a revocation, or the end of the session, comes in between: an ack would hide it.
    if (subscription.gone) throw new EverwireError('forbidden', 'the subscription was taken back meanwhile')
    subscription.accepted = true
    if (!entry.rule.history) {
      subscription.live = true
      return accepted(undefined)
    }
    const isKnown = !from || (from.epoch === entry.epoch && (ahead || from.offset <= entry.last))
    subscription.position = from && isKnown ? from.offset : entry.last
    accepted({ epoch: entry.epoch, offset: subscription.position })
    if (isKnown) return this.#goOn(entry, reader, subscription, from)
    // A position of another epoch, or one that this epoch has not reached: the channel began anew in between.
    subscription.live = true
    this.#tellGap(entry, reader, 'epoch', entry.last)
  }

  /** Keeps a place in a channel for a reader that another node still serves. Resolves once nothing can be missed. */
  async hold(key: string): Promise<Seat> {
    const entry = this.#entry(key)
    const seat = new Seat(key)
    entry.seats.add(seat)
    try {
      await entry.ready
    } catch (error) {
      this.release(seat)
      throw error
    }
    return seat
  }

  /** The place is not needed any more. Safe to call twice. */
  release(seat: Seat): void {
    const entry = this.#entries.get(seat.key)
    if (!entry?.seats.delete(seat)) return
    this.#dropIfUnused(entry)
  }

  /** Goes on, in this turn, where another node stopped: the reader has everything up to its standing. */
  resume(seat: Seat, reader: Reader, standing: Standing): void {
    const entry = this.#entries.get(seat.key)
    if (!entry?.seats.delete(seat)) throw new TypeError(`no place is kept in ${seat.key}`)
    const subscription: Subscription = { position: 0, accepted: true, live: true, gone: false }
    entry.readers.set(reader, subscription)
    if ('position' in standing) {
      const { position } = standing
      subscription.position = position.offset
      if (position.epoch === entry.epoch) return this.#goOn(entry, reader, subscription, position)
      subscription.position = entry.last
      return this.#tellGap(entry, reader, 'epoch', entry.last)
    }
    subscription.floor = new Map(Object.entries(standing.runs))
    if (seat.broken) this.#tellGap(entry, reader, 'bus')
    for (const item of seat.items) sendLive(reader, subscription, item)
  }

  /** Where a reader stands as of this turn; undefined before it was told that it reads the channel. */
  standing(reader: Reader, key: string): Standing | undefined {
    const entry = this.#entries.get(key)
    const subscription = entry?.readers.get(reader)
    if (!entry || !subscription?.accepted) return undefined
    if (entry.rule.history) return { position: { epoch: entry.epoch, offset: subscription.position } }
    // What another node had sent may still be on its way to this one.
    const runs = new Map(subscription.floor)
    for (const [run, number] of entry.runs) {
      const sent = Math.max(number, runs.get(run) ?? 0)
      runs.delete(run)
      runs.set(run, sent)
    }
    return { runs: Object.fromEntries([...runs].slice(-maxRuns)) }
  }

  unsubscribe(reader: Reader, key: string): void {
    const entry = this.#entries.get(key)
    if (entry?.readers.has(reader)) this.#leave(entry, reader)
  }

  /** Whether this node has sent the reader everything of a channel that it knows. */
  isCurrent(reader: Reader, key: string): boolean {
    return this.#entries.get(key)?.readers.get(reader)?.live ?? false
  }

  /** A page of what is kept after an offset, from the bus itself. @throws EverwireError `no-history` */
  async read(key: string, after: number, limit: number): Promise<HistoryPage> {
    return await this.#read(key, { after, limit })
  }

  /** A page of the newest that is kept before an offset, from the bus itself. @throws EverwireError `no-history` */
  async readBefore(key: string, before: number, limit: number): Promise<HistoryPage> {
    return await this.#read(key, { before, limit })
  }

  /**
   * Whether a channel has come as far as a position beyond what is known here: this node may lag, and offsets rise by
   * what other channels store, which another node may have heard of first.
   */
  async hasReached(key: string, { epoch, offset }: Position): Promise<boolean> {
    const page = await this.read(key, offset, 1)
    if (page.epoch !== epoch) return false
    return page.publications.length > 0 || page.tail >= offset
  }

  /**
   * Publications before an offset (default: the newest), oldest first, as JSON text of at most `maxBytes`:
   * `{ epoch, publications: [{ offset, event, data | binary, userId? }], more }`.
   */
  async history(
    key: string,
    { before = Number.MAX_SAFE_INTEGER, limit }: { before?: number; limit: number },
    reader: Pick<Reader, 'id'>,
    maxBytes: number,
  ): Promise<string> {
    if (!this.rule(key).history) throw new EverwireError('unknown-channel', 'the channel keeps no history')
    const { epoch, publications } = await this.readBefore(key, before, limit + 1)
    const parts: string[] = []
    let bytes = 200
    let more = publications.length > limit
    for (const publication of publications.slice(-limit).reverse()) {
      const part = publication.except === reader.id ? '' : publicationJson(publication, publication.offset)
      bytes += utf8(part).length + 1
      if (bytes > maxBytes && parts.length > 0) {
        more = true
        break
      }
      if (part !== '') parts.unshift(part)
    }
    return `{"epoch":${JSON.stringify(epoch)},"publications":[${parts.join(',')}],"more":${more}}`
  }

  async #read(key: string, range: HistoryRange): Promise<HistoryPage> {
    const rule = this.rule(key)
    if (!rule.history) throw new EverwireError('no-history', 'the channel keeps no history')
    await this.declare(rule)
    return await this.#bus.read(key, rule.history, range)
  }

  #entry(key: string): Entry {
    const known = this.#entries.get(key)
    if (known) return known
    const rule = this.rule(key)
    const entry: Entry = {
      key,
      wire: key.startsWith(userPrefix) ? ownChannel : key,
      rule,
      readers: new Map(),
      seats: new Set(),
      ready: Promise.resolve(),
      stop: () => {},
      epoch: '',
      last: 0,
      ring: new Ring(this.#ringSize, 0),
      runs: new Map(),
      told: new Map(),
    }
    this.#entries.set(key, entry)
    entry.ready = this.#open(entry)
    // Whoever subscribes hears of a failure; nobody else has to.
    entry.ready.catch(() => {})
    return entry
  }

  async #open(entry: Entry): Promise<void> {
    const { key, rule } = entry
    await this.declare(rule)
    const listening = rule.history
      ? this.#bus.follow(key, rule.history, {
          start: (position) => this.#begin(entry, position),
          publication: (publication) => this.#stored(entry, publication),
          gap: (reason, position) => this.#broken(entry, reason, position),
        })
      : this.#bus.listen(key, {
          publication: (publication) => this.#live(entry, publication),
          gap: (through) => {
            if (through && entry.runs.has(through.run)) entry.told.set(through.run, through.number)
            this.#broken(entry, 'bus')
          },
        })
    this.#started(entry, await listening)
  }

  #started(entry: Entry, stop: () => void): void {
    // Everybody may have left while the bus was being asked.
    if (this.#entries.get(entry.key) === entry) entry.stop = stop
    else stop()
  }

  #leave(entry: Entry, reader: Reader): void {
    const subscription = entry.readers.get(reader)
    if (subscription) subscription.gone = true
    entry.readers.delete(reader)
    this.#dropIfUnused(entry)
  }

  #dropIfUnused(entry: Entry): void {
    if (entry.readers.size > 0 || entry.seats.size > 0 || this.#entries.get(entry.key) !== entry) return
    this.#entries.delete(entry.key)
    entry.stop()
  }

  /** Whether a position lies beyond what this node knows, and is in the channel all the same. */
  async #isAhead({ key, rule, epoch, last }: Entry, from: Position): Promise<boolean> {
    return (
      rule.history !== undefined &&
      from.epoch === epoch &&
      from.offset > last &&
      (await this.hasReached(key, from))
    )
  }

  /** Reads along, once what lies after the position is sent. */
  #goOn(entry: Entry, reader: Reader, subscription: Subscription, from: Position | undefined): void {
    // Whatever a change of epoch made of it meanwhile.
    subscription.live = !from || from.offset > entry.last
    if (subscription.live) return
    void this.#catchUp.run(entry, reader, subscription).catch((error: unknown) => {
      if (subscription.gone) return
      this.#leave(entry, reader)
      reader.removed(entry.key, entry.wire, error)
    })
  }

  #tellGap(entry: Entry, reader: Reader, reason: GapReason, offset?: number): void {
    this.#metrics.gaps.inc({ reason })
    reader.send(gapFrame(entry, reason, offset))
  }

  /** What the bus tells of goes on after this position; what came before is not in the ring. */
  #begin(entry: Entry, { epoch, offset }: Position): void {
    entry.epoch = epoch
    entry.last = offset
    entry.ring = new Ring(this.#ringSize, offset)
  }

  #broken(entry: Entry, reason: GapReason, position?: Position): void {
    if (position) this.#begin(entry, position)
    const gap = gapFrame(entry, reason, position?.offset)
    for (const seat of entry.seats) seat.break()
    for (const [reader, subscription] of entry.readers) {
      // Who still catches up finds out by itself what is missing; but a position of another epoch leads nowhere.
      if (!subscription.live && reason !== 'epoch') continue
      subscription.live = true
      subscription.position = entry.last
      this.#metrics.gaps.inc({ reason })
      reader.send(gap)
    }
  }

  #stored(entry: Entry, publication: StoredPublication): void {
    const item = ringItem(entry, publication, entry.last)
    entry.last = publication.offset
    entry.ring.push(item)
    for (const [reader, subscription] of entry.readers) {
      const { live, position } = subscription
      // A reader that came from a node that knew more has this one already.
      if (!live || item.offset <= position) continue
      subscription.position = item.offset
      sendItem(reader, position === item.previous ? item : ringItem(entry, publication, position))
    }
  }

  #live(entry: Entry, publication: LivePublication): void {
    const { run, number, previous } = publication
    const last = entry.runs.get(run)
    if (last !== undefined && number <= last) return
    // 0 is no claim: the publisher does not remember channels for ever.
    const isBroken = last !== undefined && previous !== 0 && previous !== last
    // What was lost after a gap was told is told by another.
    const isTold = previous <= (entry.told.get(run) ?? 0)
    const gap = isBroken && !isTold ? gapFrame(entry, 'bus') : undefined
    entry.told.delete(run)
    entry.runs.delete(run)
    entry.runs.set(run, number)
    if (entry.runs.size > maxRuns) {
      const oldest = entry.runs.keys().next().value!
      entry.runs.delete(oldest)
      entry.told.delete(oldest)
    }
    const item = liveItem(entry, publication, last, gap)
    if (gap) this.#metrics.gaps.inc({ reason: 'bus' }, entry.readers.size)
    // The other node may have sent it already, under its own number; at most once is what such publishers get.
    if (!publication.foreign) for (const seat of entry.seats) seat.keep(item)
    for (const [reader, subscription] of entry.readers)
      if (subscription.live) sendLive(reader, subscription, item)
  }
}

/**
 * Ids are recognised per stream, so a bare id would let another user's or channel's publication be swallowed with a
 * success. Never derived from the session: a retry may come from the next one.
 */
const scopedId = (key: string, { userId, id }: PublicationId): string =>
  createHash('sha256')
    .update(JSON.stringify([userId === undefined ? 'server' : [userId], key, id]))
    .digest('base64url')

const userPrefix = '@user:'

/** The channel of one user's sessions, on the bus. */
export const userChannel = (userId: string): string => userPrefix + encodeURIComponent(userId)
