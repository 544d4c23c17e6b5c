import { codes } from '@everwire/core'
import { Counter, Registry } from 'prom-client'

/** What a node counts, for Prometheus. Counters start with the process and only rise. */
export interface Metrics {
  /** Where they are found; hand it to the route that Prometheus asks. */
  readonly registry: Registry
  /** Links that wanted to attach: the session was `opened` or `resumed`, or the code of the refusal. Polls of one link count once. */
  readonly attaches: Counter<'transport' | 'result'>
  /** Links that were attached and ended, by code; of those that are made of polls only what went wrong. */
  readonly linksEnded: Counter<'transport' | 'code'>
  /** Sessions that moved between nodes: `taken` by this one, `given` by it; or `lost` on the way, or `refused` for now. */
  readonly handovers: Counter<'result'>
  /** Requests (`poll`, `uplink`) sent on to the node that owns the session: `ok`, or `failed`. */
  readonly relays: Counter<'kind' | 'result'>
  /** Where what a client had missed came from: the session's `outbox`, a node's `ring`, or the `stream`. */
  readonly recoveries: Counter<'source'>
  /** Gaps told to readers. */
  readonly gaps: Counter<'reason'>
  /** Reads of history for readers that had fallen behind; shared by all that need the same. */
  readonly historyReads: Counter
}

export function createMetrics(registry = new Registry()): Metrics {
  const counter = <Label extends string>(name: string, help: string, labelNames: Label[] = []) =>
    new Counter<Label>({ name: `everwire_${name}_total`, help, labelNames, registers: [registry] })
  return {
    registry,
    attaches: counter('attaches', 'Links that wanted to attach, by what became of it', [
      'transport',
      'result',
    ]),
    linksEnded: counter('links_ended', 'Links that were attached and ended', ['transport', 'code']),
    handovers: counter('handovers', 'Sessions that moved between nodes', ['result']),
    relays: counter('relays', 'Requests sent on to the node that owns the session', ['kind', 'result']),
    recoveries: counter('recoveries', 'Recoveries of sessions and readers, by where they came from', [
      'source',
    ]),
    gaps: counter('gaps', 'Gaps told to readers', ['reason']),
    historyReads: counter('history_reads', 'Reads of history for readers that had fallen behind'),
  }
}

/** A code as a label; those of applications and of later versions are one, so that nobody makes up new ones. */
export const codeLabel = (code: string): string => (Object.hasOwn(codes, code) ? code : 'other')
