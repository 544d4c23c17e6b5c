import { createHash } from 'node:crypto'
import {
  encodeFrame,
  EverwireError,
  ownChannel,
  utf8,
  type Bus,
  type EncodedFrame,
  type GapReason,
  type HistoryPage,
  type LivePublication,
  type Message,
  type Position,
  type StoredPublication,
} from '@everwire/core'
import type { ChannelRule, ChannelRules } from './channel-rules.js'
import { publicationJson } from './publication.js'
import { Ring, type RingItem } from './ring.js'

/** Who reads channels: a session, as the hub sees it. */
export interface Reader {
  /** Public id. */
  readonly id: string
  readonly userId: string | null
  send(frame: EncodedFrame): void
  /** Resolves when the reader takes more of what can wait; at once when it does already. */
  room(): Promise<void>
  /** The hub took the subscription back. */
  removed(key: string, channel: string, error: unknown): void
}

interface Subscription {
  /** Offset of the last publication sent. */
  position: number
  /** Reads along as publications come; until then it catches up from ring or bus. */
  live: boolean
  gone: boolean
}

interface Entry {
  /** Name on the bus. */
  readonly key: string
  /** Name on the wire. */
  readonly wire: string
  readonly rule: ChannelRule
  readonly readers: Map<Reader, Subscription>
  /** Resolves once nothing published later can be missed. */
  ready: Promise<void>
  stop: () => void
  epoch: string
  /** Offset of the newest publication known here. */
  last: number
  ring: Ring
  /** Live channels: the last number of each publisher run. */
  readonly runs: Map<string, number>
  /** Runs for whose next publication a gap was told already. */
  readonly told: Set<string>
  /** Reads of history in flight, shared by everyone who needs the same. */
  readonly reads: Map<number, Promise<{ items: readonly RingItem[]; complete: boolean }>>
}

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
}

const chunk = 100
/** Publisher runs remembered per live channel; a run is one life of one node. */
const maxRuns = 256

/** Channels: who listens, positions, delivery, recovery. Who may, it is told by those who call. */
export class Hub {
  readonly #bus: Bus
  readonly #rules: ChannelRules
  readonly #ringSize: number
  readonly #entries = new Map<string, Entry>()
  readonly #declared = new Map<ChannelRule, Promise<void>>()

  constructor({ bus, rules, ringSize }: HubOptions) {
    this.#bus = bus
    this.#rules = rules
    this.#ringSize = ringSize
  }

  /** Channels that somebody on this node reads. */
  get size(): number {
    return this.#entries.size
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
    const subscription: Subscription = { position: 0, live: false, gone: false }
    entry.readers.set(reader, subscription)
    let ahead = false
    try {
      await entry.ready
      if (from && entry.rule.history && from.epoch === entry.epoch && from.offset > entry.last)
        ahead = await this.hasReached(key, from)
    } catch (error) {
      this.#leave(entry, reader)
      throw error
    }
    // Only a revocation, or the end of the session, comes in between: an ack would hide it.
    if (subscription.gone) throw new EverwireError('forbidden', 'the subscription was taken back meanwhile')
    if (!entry.rule.history) {
      subscription.live = true
      return accepted(undefined)
    }
    if (!from || (from.epoch === entry.epoch && (ahead || from.offset <= entry.last))) {
      subscription.position = from ? from.offset : entry.last
      accepted({ epoch: entry.epoch, offset: subscription.position })
      // Whatever a change of epoch made of it meanwhile.
      subscription.live = !from || from.offset > entry.last
      if (!subscription.live)
        void this.#catchUp(entry, reader, subscription).catch((error: unknown) => {
          if (subscription.gone) return
          this.#leave(entry, reader)
          reader.removed(key, entry.wire, error)
        })
      return
    }
    // A position of another epoch, or one that this epoch has not reached: the channel began anew in between.
    subscription.position = entry.last
    subscription.live = true
    accepted({ epoch: entry.epoch, offset: entry.last })
    reader.send(gapFrame(entry, 'epoch', entry.last))
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
    const rule = this.rule(key)
    if (!rule.history) throw new EverwireError('no-history', 'the channel keeps no history')
    await this.declare(rule)
    return await this.#bus.read(key, rule.history, { after, limit })
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
    const rule = this.rule(key)
    const { history } = rule
    if (!history) throw new EverwireError('unknown-channel', 'the channel keeps no history')
    await this.declare(rule)
    const { epoch, publications } = await this.#bus.read(key, history, { before, limit: limit + 1 })
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

  #entry(key: string): Entry {
    const known = this.#entries.get(key)
    if (known) return known
    const rule = this.rule(key)
    const entry: Entry = {
      key,
      wire: key.startsWith(userPrefix) ? ownChannel : key,
      rule,
      readers: new Map(),
      ready: Promise.resolve(),
      stop: () => {},
      epoch: '',
      last: 0,
      ring: new Ring(this.#ringSize, 0),
      runs: new Map(),
      told: new Set(),
      reads: new Map(),
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
          gap: () => this.#broken(entry, 'bus'),
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
    if (entry.readers.size > 0 || this.#entries.get(entry.key) !== entry) return
    this.#entries.delete(entry.key)
    entry.stop()
  }

  /** What the bus tells of goes on after this position; what came before is not in the ring. */
  #begin(entry: Entry, { epoch, offset }: Position): void {
    entry.epoch = epoch
    entry.last = offset
    entry.ring = new Ring(this.#ringSize, offset)
  }

  #broken(entry: Entry, reason: GapReason, position?: Position): void {
    if (position) this.#begin(entry, position)
    for (const run of entry.runs.keys()) entry.told.add(run)
    const gap = gapFrame(entry, reason, position?.offset)
    for (const [reader, subscription] of entry.readers) {
      // Who still catches up finds out by itself what is missing; but a position of another epoch leads nowhere.
      if (!subscription.live && reason !== 'epoch') continue
      subscription.live = true
      subscription.position = entry.last
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
    const { run, number, previous, event, except } = publication
    const last = entry.runs.get(run)
    if (last !== undefined && number <= last) return
    // 0 is no claim: the publisher does not remember channels for ever.
    const isBroken = last !== undefined && previous !== 0 && previous !== last
    const gap = isBroken && !entry.told.has(run) ? gapFrame(entry, 'bus') : undefined
    entry.told.delete(run)
    entry.runs.delete(run)
    entry.runs.set(run, number)
    if (entry.runs.size > maxRuns) entry.runs.delete(entry.runs.keys().next().value!)
    const frame = publicationFrame(entry, publication, [event, run, number, last ?? previous])
    let skip: EncodedFrame | undefined
    for (const [reader, subscription] of entry.readers) {
      if (!subscription.live) continue
      if (gap) reader.send(gap)
      if (except !== reader.id) reader.send(frame)
      else reader.send((skip ??= skipFrame(entry, [run, number, last ?? previous])))
    }
  }

  /** Sends what lies between the position and the newest, as fast as the reader takes it, then reads along. */
  async #catchUp(entry: Entry, reader: Reader, subscription: Subscription): Promise<void> {
    const gap = (reason: GapReason, offset: number) => {
      subscription.position = offset
      reader.send(gapFrame(entry, reason, offset))
    }
    let recovered = 0
    while (!subscription.gone && !subscription.live && subscription.position < entry.last) {
      await reader.room()
      if (subscription.gone || subscription.live) return
      if (recovered >= entry.rule.maxRecover && subscription.position < entry.ring.from) {
        gap('limit', entry.ring.from)
        continue
      }
      const { epoch, position } = { epoch: entry.epoch, position: subscription.position }
      const near = entry.ring.after(position, chunk)
      // The chain of the ring does not fit a position between two publications, as another node may have told.
      const fits = near && (near[0]?.previous ?? position) === position
      const { items, complete } = fits ? { items: near, complete: true } : await this.#read(entry, position)
      if (subscription.gone || subscription.live) return
      if (entry.epoch !== epoch) continue
      const first = items[0]
      // What retention removed is told before what follows it; the frame that follows must find its chain whole.
      if (!complete) gap('expired', first ? first.previous : entry.last)
      else if (!first) {
        // Offsets rose by what other channels stored: nothing is missing, and the next publication names the newest.
        reader.send(skipFrame(entry, [entry.last, position]))
        subscription.position = entry.last
      }
      for (const item of items) {
        // Before each: a whole chunk of large publications is more than an outbox holds.
        await reader.room()
        if (subscription.gone || subscription.live) return
        if (entry.epoch !== epoch) break
        sendItem(reader, item)
        subscription.position = item.offset
        recovered++
      }
    }
    subscription.live = true
  }

  /** A chunk of history after an offset; everyone who needs the same shares one read. */
  #read(entry: Entry, after: number): Promise<{ items: readonly RingItem[]; complete: boolean }> {
    const running = entry.reads.get(after)
    if (running) return running
    const read = this.#bus
      .read(entry.key, entry.rule.history!, { after, limit: chunk, to: entry.last })
      .then(({ publications, complete }) => {
        // An incomplete read starts its chain anew, right before its first publication.
        let previous = complete ? after : (publications[0]?.offset ?? 1) - 1
        const items = publications
          .filter(({ offset }) => offset <= entry.last)
          .map((publication) => {
            const item = ringItem(entry, publication, previous)
            previous = publication.offset
            return item
          })
        return { items, complete }
      })
      .finally(() => entry.reads.delete(after))
    entry.reads.set(after, read)
    return read
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

const sendItem = (reader: Reader, { frame, except, skip }: RingItem) =>
  reader.send(skip && except === reader.id ? skip : frame)

function ringItem(entry: Entry, publication: StoredPublication, previous: number): RingItem {
  const { offset, event, except } = publication
  const frame = publicationFrame(entry, publication, [event, offset, previous])
  return {
    offset,
    previous,
    frame,
    except,
    skip: except === undefined ? undefined : skipFrame(entry, [offset, previous]),
  }
}

const publicationFrame = (
  { key, wire, rule }: Entry,
  { data, binary, userId }: Message,
  fields: unknown[],
): EncodedFrame =>
  encodeFrame(['m', wire, ...fields, ...(userId === undefined ? [] : [{ userId }])], data, {
    binary,
    channel: key,
    compress: !rule.secret,
  })

/** Moves the position and shows nothing. */
const skipFrame = ({ key, wire }: Entry, numbers: unknown[]): EncodedFrame =>
  encodeFrame(['m', wire, null, ...numbers], undefined, { channel: key })

const gapFrame = ({ key, wire, epoch }: Entry, reason: GapReason, offset?: number): EncodedFrame =>
  encodeFrame(['gap', wire, reason, ...(offset === undefined ? [] : [epoch, offset])], undefined, {
    channel: key,
  })
