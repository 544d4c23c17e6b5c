import {
  encodeFrame,
  type EncodedFrame,
  type GapReason,
  type LivePublication,
  type Message,
  type StoredPublication,
} from '@everwire/core'
import type { RingItem, Ring } from './ring.js'
import type { ChannelRule } from './rules.js'
import type { Seat } from './seat.js'

/** Who reads channels: a session, as the hub sees it. */
export interface Reader {
  /** Public id. */
  readonly id: string
  readonly userId: string | null
  /** The server itself: nobody's session. */
  readonly isServer?: boolean
  send(frame: EncodedFrame): void
  /** Resolves when the reader takes more of what can wait; at once when it does already. */
  room(): Promise<void>
  /** The hub took the subscription back. */
  removed(key: string, channel: string, error: unknown): void
}

export interface Subscription {
  /** Offset of the last publication sent. */
  position: number
  /** The reader was told that it reads the channel. */
  accepted: boolean
  /** Reads along as publications come; until then it catches up from ring or bus. */
  live: boolean
  gone: boolean
  /** Last number of each run that another node sent before: what comes late here is not sent again. */
  floor?: Map<string, number> | undefined
}

/** A channel that somebody on this node reads. */
export interface Entry {
  /** Name on the bus. */
  readonly key: string
  /** Name on the wire. */
  readonly wire: string
  readonly rule: ChannelRule
  readonly readers: Map<Reader, Subscription>
  /** Places kept for readers that are on their way from another node. */
  readonly seats: Set<Seat>
  /** Resolves once nothing published later can be missed. */
  ready: Promise<void>
  stop: () => void
  epoch: string
  /** Offset of the newest publication known here. */
  last: number
  ring: Ring
  /** Live channels: the last number of each publisher run. */
  readonly runs: Map<string, number>
  /** Up to which number of a run a gap was told already; gone with the run's next publication. */
  readonly told: Map<string, number>
}

/** A live publication as this node's readers get it. */
export interface LiveItem {
  readonly run: string
  readonly number: number
  /** Number of the run's publication before it, as the frame says. */
  readonly previous: number
  readonly except: string | undefined
  readonly frame: EncodedFrame
  /** Moves the numbers and shows nothing. */
  readonly skip: EncodedFrame | undefined
  /** Goes before it. */
  readonly gap: EncodedFrame | undefined
}

export const sendItem = (
  reader: Reader,
  { frame, except, skip }: Pick<RingItem, 'frame' | 'except' | 'skip'>,
): void => reader.send(skip && except === reader.id ? skip : frame)

/** Sends a live publication, unless another node has sent it already. */
export function sendLive(reader: Reader, subscription: Subscription, item: LiveItem): void {
  const { floor } = subscription
  const sentBefore = floor?.get(item.run)
  if (sentBefore !== undefined) {
    if (item.number <= sentBefore) return
    floor!.delete(item.run)
  }
  // What is missing here came to this reader where it was before.
  if (item.gap && item.previous !== sentBefore) reader.send(item.gap)
  sendItem(reader, item)
}

export function ringItem(entry: Entry, publication: StoredPublication, previous: number): RingItem {
  const { offset, event, except } = publication
  const frame = publicationFrame(entry, publication, [event, offset, previous])
  const skip = except === undefined ? undefined : skipFrame(entry, [offset, previous])
  return { offset, previous, frame, except, skip }
}

/** @param last number of the run's last publication that this node heard */
export function liveItem(
  entry: Entry,
  publication: LivePublication,
  last: number | undefined,
  gap: EncodedFrame | undefined,
): LiveItem {
  const { run, number, event, except } = publication
  const previous = last ?? publication.previous
  const frame = publicationFrame(entry, publication, [event, run, number, previous])
  const skip = except === undefined ? undefined : skipFrame(entry, [run, number, previous])
  return { run, number, previous: publication.previous, except, frame, skip, gap }
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
export const skipFrame = ({ key, wire }: Entry, numbers: unknown[]): EncodedFrame =>
  encodeFrame(['m', wire, null, ...numbers], undefined, { channel: key })

export const gapFrame = ({ key, wire, epoch }: Entry, reason: GapReason, offset?: number): EncodedFrame =>
  encodeFrame(['gap', wire, reason, ...(offset === undefined ? [] : [epoch, offset])], undefined, {
    channel: key,
  })
