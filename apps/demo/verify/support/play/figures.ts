import { quantile } from '../quantile.js'

/** What the clients of a run lived through, beside what the ledger judges. */
export interface Figures {
  /** Gaps by kind of channel and reason. */
  readonly gaps: Record<string, number>
  /** Publications that were refused, or whose outcome is unknown, by code. */
  readonly failures: Record<string, number>
  /** How long a client was without a connection, in milliseconds, each time. */
  readonly outages: number[]
  readonly answers: Answer[]
}

/** What a publication was answered. */
export interface Answer {
  /** Until the answer came. */
  readonly ms: number
  readonly accepted: boolean
  /** Transport of the client that published; missing for servers. */
  readonly transport: string | undefined
}

export const createFigures = (): Figures => ({ gaps: {}, failures: {}, outages: [], answers: [] })

export function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}

/** All of it in one line. */
export function formatFigures({ gaps, failures, outages, answers }: Figures): string {
  const waits = answers.map(({ ms }) => ms)
  return [
    `gaps ${listed(gaps)}`,
    `not accepted ${listed(failures)}`,
    `outages ${outages.length}, p99 ${inSeconds(quantile(outages, 0.99))}, longest ${inSeconds(quantile(outages, 1))}`,
    `answers p50 ${inMs(quantile(waits, 0.5))}, p99 ${inMs(quantile(waits, 0.99))}, slowest ${inSeconds(quantile(waits, 1))}`,
  ].join(' · ')
}

export const listed = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([name, number]) => `${name} ${number}`)
    .join(', ') || 'none'

export const inSeconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`
export const inMs = (ms: number): string => `${ms.toFixed(ms < 10 ? 1 : 0)} ms`
