/**
 * Knows every publication from outside the code under test: by what the application wrote into the payload (publisher,
 * channel, a number that rises by one per publisher and channel), never by the protocol's own numbers.
 */
export interface Ledger {
  /** A publisher is about to publish its n-th publication of a channel, from 1. */
  publishing(channel: string, publisher: string, n: number): void
  /** It was acknowledged: from now on it must arrive. */
  accepted(channel: string, publisher: string, n: number): void
  /** It was refused, and must not arrive. Not for outcomes that are unknown: those are neither. */
  refused(channel: string, publisher: string, n: number): void
  /** From here on the subscriber must see everything whose publishing begins later. */
  subscribed(subscriber: string, channel: string): void
  /** What is not accepted yet need not arrive any more. */
  unsubscribed(subscriber: string, channel: string): void
  received(subscriber: string, channel: string, publisher: string, n: number): void
  /**
   * The subscriber was told that publications are missing here: between what it received last of each publisher and
   * what it receives next. At the end it explains only what was being published when it was told, not what comes later.
   */
  gap(subscriber: string, channel: string, reason: string): void
  /** What is wrong up to now. Call it when everything has had the time to arrive. */
  verdict(): Verdict
}

export interface Verdict {
  published: number
  accepted: number
  received: number
  /** Accepted, due to a subscriber, never received, and no gap told there. Counted per subscriber. */
  lost: number
  /** Received again by the same subscriber. */
  doubled: number
  /** Received after a later one of the same publisher; or, in a channel with total order, in another order than elsewhere. */
  misordered: number
  /** Places where a subscriber went on past something lost, and no gap was told there. */
  unsignalledGaps: number
  /** Gaps told where nothing is missing, neither accepted nor of an outcome that is unknown. */
  falseGaps: number
  /** Publications that are missing, and a gap said so. Counted per subscriber. */
  told: number
  /** Received though refused, or never published. */
  phantoms: number
  /** The first faults, in words. */
  details: string[]
}

export interface LedgerOptions {
  /** Channels in which all subscribers must see one order, not only one per publisher. @default none */
  totalOrder?: (channel: string) => boolean
  /** Gaps that may be told where nothing is missing, by reason. @default none */
  mayTell?: (channel: string, reason: string) => boolean
}

const state = { none: 0, publishing: 1, accepted: 2, refused: 3 } as const

interface Series {
  readonly publisher: string
  readonly index: number
  /** State of each publication, at its number. */
  states: Uint8Array
  highest: number
}

interface Reading {
  /** Due are numbers above. */
  readonly start: number
  /** Due are numbers up to; Infinity while subscribed. */
  end: number
  /** How often each number came. */
  counts: Uint8Array
  last: number
  /** Gaps told since the last reception, by their index. */
  gaps: number[]
  /** Numbers jumped over, and the gaps told there. */
  holes: { from: number; to: number; gaps: readonly number[] }[]
  /** Highest number that was being published when the last gap was told. */
  toldUpTo: number
  misordered: number
  phantoms: number
}

interface Subscription {
  readonly subscriber: string
  readonly readings: Map<string, Reading>
  open: boolean
  /** Reasons, by index. */
  readonly gaps: string[]
  /** What came, in order, for channels with total order: `orderKey` of each. */
  readonly order: number[]
}

interface ChannelRecord {
  readonly series: Map<string, Series>
  readonly subscriptions: Map<string, Subscription>
}

const maxDetails = 20

export function createLedger({
  totalOrder = () => false,
  mayTell = () => false,
}: LedgerOptions = {}): Ledger {
  const channels = new Map<string, ChannelRecord>()

  const channelOf = (name: string): ChannelRecord => {
    let record = channels.get(name)
    if (!record) channels.set(name, (record = { series: new Map(), subscriptions: new Map() }))
    return record
  }
  const seriesOf = (channel: string, publisher: string): Series => {
    const { series } = channelOf(channel)
    let found = series.get(publisher)
    if (!found) {
      found = { publisher, index: series.size, states: new Uint8Array(64), highest: 0 }
      series.set(publisher, found)
    }
    return found
  }
  const mark = (channel: string, publisher: string, n: number, value: number) => {
    const series = seriesOf(channel, publisher)
    series.states = grown(series.states, n)
    series.states[n] = value
    series.highest = Math.max(series.highest, n)
  }
  const subscriptionOf = (subscriber: string, channel: string): Subscription => {
    const found = channelOf(channel).subscriptions.get(subscriber)
    if (!found) throw new Error(`${subscriber} is not subscribed to ${channel}: call subscribed first`)
    return found
  }
  const readingOf = (subscription: Subscription, publisher: string): Reading => {
    let found = subscription.readings.get(publisher)
    if (!found) {
      // A publisher that began later: everything of it is due, and no gap that was told before explains a loss.
      found = newReading(0, subscription.open ? Number.POSITIVE_INFINITY : 0)
      subscription.readings.set(publisher, found)
    }
    return found
  }

  return {
    publishing: (channel, publisher, n) => mark(channel, publisher, n, state.publishing),
    accepted: (channel, publisher, n) => mark(channel, publisher, n, state.accepted),
    refused: (channel, publisher, n) => mark(channel, publisher, n, state.refused),

    subscribed(subscriber, channel) {
      const { series, subscriptions } = channelOf(channel)
      const known = subscriptions.get(subscriber)
      if (known?.open) throw new Error(`${subscriber} is subscribed to ${channel} already`)
      if (known)
        throw new Error(`${subscriber} comes back to ${channel}: give it another name, it is another reader`)
      const readings = new Map<string, Reading>()
      for (const { publisher, highest } of series.values())
        readings.set(publisher, newReading(highest, Number.POSITIVE_INFINITY))
      subscriptions.set(subscriber, { subscriber, readings, open: true, gaps: [], order: [] })
    },

    unsubscribed(subscriber, channel) {
      const subscription = subscriptionOf(subscriber, channel)
      subscription.open = false
      for (const series of channelOf(channel).series.values()) {
        const { states } = series
        readingOf(subscription, series.publisher).end = states.lastIndexOf(state.accepted)
      }
    },

    received(subscriber, channel, publisher, n) {
      const subscription = subscriptionOf(subscriber, channel)
      const reading = readingOf(subscription, publisher)
      reading.counts = grown(reading.counts, n)
      const came = reading.counts[n]!
      reading.counts[n] = Math.min(came + 1, 255)
      const value = seriesOf(channel, publisher).states[n] ?? state.none
      if (value === state.none) reading.phantoms++
      if (came > 0) return
      if (totalOrder(channel)) subscription.order.push(orderKey(seriesOf(channel, publisher).index, n))
      // It was under way when the reader came: it may come, at any place.
      if (n <= reading.start) return
      if (n < reading.last) {
        reading.misordered++
        return
      }
      if (n > reading.last + 1) reading.holes.push({ from: reading.last + 1, to: n - 1, gaps: reading.gaps })
      reading.last = n
      reading.gaps = []
    },

    gap(subscriber, channel, reason) {
      const subscription = subscriptionOf(subscriber, channel)
      const index = subscription.gaps.push(reason) - 1
      for (const { publisher, highest } of channelOf(channel).series.values()) {
        const reading = readingOf(subscription, publisher)
        reading.gaps = [...reading.gaps, index]
        reading.toldUpTo = highest
      }
    },

    verdict() {
      const verdict: Verdict = {
        published: 0,
        accepted: 0,
        received: 0,
        lost: 0,
        doubled: 0,
        misordered: 0,
        unsignalledGaps: 0,
        falseGaps: 0,
        told: 0,
        phantoms: 0,
        details: [],
      }
      for (const [channel, record] of channels)
        judge(verdict, channel, record, totalOrder(channel), (reason) => mayTell(channel, reason))
      return verdict
    },
  }
}

function judge(
  verdict: Verdict,
  channel: string,
  { series, subscriptions }: ChannelRecord,
  total: boolean,
  mayTell: (reason: string) => boolean,
): void {
  const note = (text: string) => {
    if (verdict.details.length < maxDetails) verdict.details.push(`${channel}: ${text}`)
  }
  for (const { states } of series.values())
    for (const value of states) {
      if (value !== state.none) verdict.published++
      if (value === state.accepted) verdict.accepted++
    }
  const before: (readonly number[])[] = []
  for (const { subscriber, readings, gaps, order, open } of subscriptions.values()) {
    const useful = new Set<number>()
    for (const one of series.values()) {
      const reading = readings.get(one.publisher) ?? newReading(0, open ? Number.POSITIVE_INFINITY : 0)
      const { counts, holes, last } = reading
      for (const count of counts) {
        if (count > 0) verdict.received++
        if (count > 1) {
          verdict.doubled += count - 1
          note(`${subscriber} received something of ${one.publisher} ${count} times`)
        }
      }
      counts.forEach((count, n) => {
        if (count === 0 || one.states[n] !== state.refused) return
        verdict.phantoms++
        note(`${subscriber} received ${one.publisher} ${n}, which was refused`)
      })
      verdict.phantoms += reading.phantoms
      verdict.misordered += reading.misordered
      if (reading.misordered > 0)
        note(`${subscriber} received ${reading.misordered} of ${one.publisher} after a later one`)

      const missing = (from: number, to: number, value: number = state.accepted): number => {
        let count = 0
        for (let n = Math.max(from, reading.start + 1); n <= Math.min(to, reading.end); n++)
          if (one.states[n] === value && (counts[n] ?? 0) === 0) count++
        return count
      }
      const { toldUpTo } = reading
      const here = { from: last + 1, to: toldUpTo, gaps: reading.gaps, inner: false }
      const later = { from: Math.max(last, toldUpTo) + 1, to: one.highest, gaps: [], inner: false }
      for (const { from, to, gaps, inner } of [
        ...holes.map((hole) => ({ ...hole, inner: true })),
        here,
        later,
      ]) {
        const count = missing(from, to)
        if (count === 0) {
          // What nobody can say of whether it happened may well be what the gap tells of.
          if (gaps.length > 0 && missing(from, to, state.publishing) > 0)
            for (const gap of gaps) useful.add(gap)
          continue
        }
        if (gaps.length > 0) {
          verdict.told += count
          for (const gap of gaps) useful.add(gap)
          continue
        }
        verdict.lost += count
        note(`${subscriber} lost ${count} of ${one.publisher} between ${from} and ${to}, without a gap`)
        if (inner) verdict.unsignalledGaps++
      }
    }
    gaps.forEach((reason, index) => {
      if (useful.has(index) || mayTell(reason)) return
      verdict.falseGaps++
      note(`${subscriber} was told a gap (${reason}) where nothing is missing`)
    })
    if (!total) continue
    // Each against each that came before it; the worst disagreement counts.
    const faults = before.map((other) => orderFaults(order, other))
    before.push(order)
    const worst = Math.max(0, ...faults)
    verdict.misordered += worst
    if (worst > 0) note(`${subscriber} received ${worst} in another order than a subscriber before it`)
  }
}

const orderKey = (series: number, n: number) => series * 2 ** 32 + n

/** How often the common part of two orders goes backwards. */
function orderFaults(order: readonly number[], reference: readonly number[]): number {
  const ranks = new Map(reference.map((key, rank) => [key, rank]))
  let faults = 0
  let last = -1
  for (const key of order) {
    const rank = ranks.get(key)
    if (rank === undefined) continue
    if (rank < last) faults++
    last = rank
  }
  return faults
}

function newReading(start: number, end: number): Reading {
  return {
    start,
    end,
    counts: new Uint8Array(64),
    last: start,
    gaps: [],
    holes: [],
    toldUpTo: 0,
    misordered: 0,
    phantoms: 0,
  }
}

function grown(array: Uint8Array, index: number): Uint8Array {
  if (index < array.length) return array
  const larger = new Uint8Array(Math.max(array.length * 2, index + 1))
  larger.set(array)
  return larger
}

/** The last line of a verification: `lost 0 doubled 0 misordered 0 unsignalled-gaps 0 moves 3`. */
export function formatVerdict(
  verdict: Verdict,
  counts: Readonly<Record<string, number>>,
  falseGaps = false,
): string {
  const { lost, doubled, misordered, unsignalledGaps } = verdict
  const rest = Object.entries(counts).map(([name, count]) => `${name} ${count}`)
  return [
    `lost ${lost} doubled ${doubled} misordered ${misordered} unsignalled-gaps ${unsignalledGaps}`,
    ...(falseGaps ? [`false-gaps ${verdict.falseGaps}`] : []),
    ...rest,
  ].join(' ')
}

/** Whether nothing is wrong at all; false gaps count where they are asked for. */
export function isClean(verdict: Verdict, falseGaps = false): boolean {
  const { lost, doubled, misordered, unsignalledGaps, phantoms } = verdict
  return lost + doubled + misordered + unsignalledGaps + phantoms + (falseGaps ? verdict.falseGaps : 0) === 0
}
