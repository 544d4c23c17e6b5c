import type { Bus, GapReason } from '@everwire/core'
import type { Metrics } from '../metrics.js'
import {
  gapFrame,
  ringItem,
  sendItem,
  skipFrame,
  type Entry,
  type Reader,
  type Subscription,
} from './entry.js'
import type { RingItem } from './ring.js'

/** Part of a channel's history, oldest first. */
interface Page {
  readonly items: readonly RingItem[]
  readonly complete: boolean
  /** Where it ends: what was stored later was not looked for. */
  readonly to: number
}

const pageSize = 100
/** Full pages that stay for a while: after a node's death all of its readers ask for the same ones. */
const maxPages = 64
const maxPageBytes = 262_144

/** Brings readers that fell behind up to what their node knows: from the ring, else from the bus. */
export class CatchUp {
  readonly #bus: Bus
  readonly #metrics: Metrics
  /** Reads under way and full pages, those made longest ago first. */
  readonly #pages = new Map<string, Promise<Page>>()

  constructor(bus: Bus, metrics: Metrics) {
    this.#bus = bus
    this.#metrics = metrics
  }

  /** Sends what lies between the position and the newest, as fast as the reader takes it; then it reads along. */
  async run(entry: Entry, reader: Reader, subscription: Subscription): Promise<void> {
    const gap = (reason: GapReason, offset: number) => {
      subscription.position = offset
      this.#metrics.gaps.inc({ reason })
      reader.send(gapFrame(entry, reason, offset))
    }
    let source: 'ring' | 'stream' = 'ring'
    let recovered = 0
    while (!subscription.gone && !subscription.live && subscription.position < entry.last) {
      await reader.room()
      if (subscription.gone || subscription.live) return
      if (recovered >= entry.rule.maxRecover && subscription.position < entry.ring.from) {
        gap('limit', entry.ring.from)
        continue
      }
      const { epoch, position } = { epoch: entry.epoch, position: subscription.position }
      const near = entry.ring.after(position, pageSize)
      // The chain of the ring does not fit a position between two publications, as another node may have told.
      const fits = near && (near[0]?.previous ?? position) === position
      if (!fits) source = 'stream'
      const page = fits ? { items: near, complete: true, to: entry.last } : await this.#page(entry, position)
      if (subscription.gone || subscription.live) return
      if (entry.epoch !== epoch) continue
      const { items, complete, to } = page
      const first = items[0]
      // What retention removed is told before what follows it; the frame that follows must find its chain whole.
      if (!complete) gap('expired', first ? first.previous : to)
      else if (!first) {
        // Offsets rose by what other channels stored: nothing is missing, and the next publication names the newest.
        reader.send(skipFrame(entry, [to, position]))
        subscription.position = to
      }
      for (const item of items) {
        // Before each: a whole page of large publications is more than an outbox holds.
        await reader.room()
        if (subscription.gone || subscription.live) return
        if (entry.epoch !== epoch) break
        sendItem(reader, item)
        subscription.position = item.offset
        recovered++
      }
    }
    subscription.live = true
    if (recovered > 0) this.#metrics.recoveries.inc({ source })
  }

  /** A page of history after an offset; everyone who needs the same shares one read. */
  #page(entry: Entry, after: number): Promise<Page> {
    const { key, epoch } = entry
    const name = JSON.stringify([key, epoch, after])
    const known = this.#pages.get(name)
    if (known) return known
    const page = this.#read(entry, after).then(
      (page) => {
        const { items, complete } = page
        // A page that is not full grows: what it brought stands in the ring.
        const bytes = items.reduce((sum, { frame }) => sum + frame.bytes, 0)
        if (!complete || items.length < pageSize || bytes > maxPageBytes) this.#pages.delete(name)
        if (complete && entry.epoch === epoch) fillRing(entry, after, page)
        return page
      },
      (error: unknown) => {
        this.#pages.delete(name)
        throw error
      },
    )
    this.#pages.set(name, page)
    if (this.#pages.size > maxPages) this.#pages.delete(this.#pages.keys().next().value!)
    return page
  }

  async #read(entry: Entry, after: number): Promise<Page> {
    this.#metrics.historyReads.inc()
    const to = entry.last
    const range = { after, limit: pageSize, to }
    const { publications, complete } = await this.#bus.read(entry.key, entry.rule.history!, range)
    // An incomplete read starts its chain anew, right before its first publication.
    let previous = complete ? after : (publications[0]?.offset ?? 1) - 1
    const items = publications
      .filter(({ offset }) => offset <= to)
      .map((publication) => {
        const item = ringItem(entry, publication, previous)
        previous = publication.offset
        return item
      })
    return { items, complete, to }
  }
}

/** The ring of a channel that was just joined knows nothing yet: what one reader needed serves the others. */
function fillRing(entry: Entry, after: number, { items, to }: Page): void {
  const { from } = entry.ring
  // The ring has moved on meanwhile: between the two something would be missing.
  if (after >= from || to < from) return
  const older = items.filter(({ offset }) => offset <= from)
  // The page ends before the ring begins.
  if (items.length === pageSize && older.length === items.length && items.at(-1)!.offset < from) return
  const last = older.at(-1)?.offset ?? after
  if (last < from) {
    const frame = skipFrame(entry, [from, last])
    older.push({ offset: from, previous: last, frame })
  }
  entry.ring.fill(older, after)
}
