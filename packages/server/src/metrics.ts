import { Counter, Registry } from 'prom-client'

/** What a node counts, for Prometheus. Counters start with the process and only rise. */
export interface Metrics {
  /** Where they are found; hand it to the route that Prometheus asks. */
  readonly registry: Registry
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
    handovers: counter('handovers', 'Sessions that moved between nodes', ['result']),
    relays: counter('relays', 'Requests sent on to the node that owns the session', ['kind', 'result']),
    recoveries: counter('recoveries', 'Recoveries of sessions and readers, by where they came from', [
      'source',
    ]),
    gaps: counter('gaps', 'Gaps told to readers', ['reason']),
    historyReads: counter('history_reads', 'Reads of history for readers that had fallen behind'),
  }
}
