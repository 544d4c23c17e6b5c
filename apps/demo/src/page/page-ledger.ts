import { createLedger, type Verdict } from '@everwire/testkit/ledger'

export interface LedgerSnapshot extends Verdict {
  /** Of this page's own stream: accepted by the server, and not here yet. */
  onTheirWay: number
  /** Gaps that the channel told. */
  gaps: number
}

/** The testkit's ledger for one page, which sees all of its own publications, and of others what arrives. */
export interface PageLedger {
  /** From here on everything that is published must arrive. */
  subscribed(): void
  publishing(sequence: number): void
  accepted(sequence: number): void
  refused(sequence: number): void
  received(publisher: string, sequence: number): void
  gap(reason: string): void
  /** `settled`: everything had the time to arrive, so that what is still on its way counts as lost. */
  snapshot(options?: { settled?: boolean }): LedgerSnapshot
}

const [page, channel] = ['page', 'ledger']
/** A jump beyond this is no loss: the publisher began anew, or is not to be trusted. */
const mostMissing = 100_000
/** Publishers that are counted; what comes from more is not. */
const mostPublishers = 1_000

export function createPageLedger(own: () => string): PageLedger {
  const ledger = createLedger()
  const others = new Map<string, { name: string; base: number; highest: number }>()
  // In a channel with history a publication may be accepted before its turn to arrive comes: it is due only when it,
  // or a later one, has arrived.
  const onTheirWay = new Set<number>()
  let gaps = 0

  const settle = (upTo: number) => {
    for (const sequence of onTheirWay) {
      if (sequence > upTo) break
      ledger.accepted(channel, own(), sequence)
      onTheirWay.delete(sequence)
    }
  }
  const receivedOther = (publisher: string, sequence: number) => {
    let other = others.get(publisher)
    if (!other || sequence > other.highest + mostMissing || sequence <= other.base) {
      if (others.size >= mostPublishers && !other) return
      // Counted from where this page came in: its array is as long as its visit, not as the server's life.
      other = { name: `${publisher} from ${sequence}`, base: sequence - 1, highest: sequence - 1 }
      others.set(publisher, other)
    }
    const { name, base } = other
    // It numbers without a hole: whatever lies below was published too.
    for (let missing = other.highest + 1; missing <= sequence; missing++) {
      ledger.publishing(channel, name, missing - base)
      ledger.accepted(channel, name, missing - base)
    }
    other.highest = Math.max(other.highest, sequence)
    ledger.received(page, channel, name, sequence - base)
  }
  return {
    subscribed: () => ledger.subscribed(page, channel),
    publishing: (sequence) => ledger.publishing(channel, own(), sequence),
    accepted: (sequence) => void onTheirWay.add(sequence),
    refused: (sequence) => ledger.refused(channel, own(), sequence),
    received(publisher, sequence) {
      if (publisher !== own()) return receivedOther(publisher, sequence)
      settle(sequence)
      ledger.received(page, channel, publisher, sequence)
    },
    gap(reason) {
      gaps++
      ledger.gap(page, channel, reason)
    },
    snapshot({ settled = false } = {}) {
      if (settled) settle(Number.POSITIVE_INFINITY)
      return { ...ledger.verdict(), onTheirWay: onTheirWay.size, gaps }
    },
  }
}
