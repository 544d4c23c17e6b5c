import { Counter, type Registry } from 'prom-client'

/** What the bridge counts, beside what the node does. */
export interface Metrics {
  /** Answered polls by mode; `full`, `not-modified`, or `other` where there was no state to name. */
  readonly polls: Counter<'mode' | 'result'>
  /** Handlers that ran for polls (`run`), and polls that got the outcome of another's (`shared`). */
  readonly executions: Counter<'result'>
  /** Publications by event. */
  readonly publications: Counter<'event'>
  /** Reads of sources: `changed`, `same`, or `failed`. */
  readonly reads: Counter<'result'>
  /** What went wrong, by what it was for: `follow`, `publish`, `read`, `revision`, `channel`, `signal`, `control`, `readers`. */
  readonly failures: Counter<'what'>
}

export function createMetrics(registry: Registry): Metrics {
  const counter = <Label extends string>(name: string, help: string, labelNames: Label[]) =>
    new Counter<Label>({ name: `everwire_bridge_${name}_total`, help, labelNames, registers: [registry] })
  return {
    polls: counter('polls', 'Polls that were answered', ['mode', 'result']),
    executions: counter('executions', 'Handlers run for polls, and polls that shared one', ['result']),
    publications: counter('publications', 'Publications of changes', ['event']),
    reads: counter('reads', 'Reads of sources', ['result']),
    failures: counter('failures', 'What went wrong and was gone round', ['what']),
  }
}
