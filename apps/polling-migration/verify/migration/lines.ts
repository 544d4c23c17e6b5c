import type { Figures } from './figures.js'

const columns = [
  'step',
  'requests a minute',
  'KB a minute, unchanged',
  'KB a minute, changing',
  'staleness, median',
  'staleness, worst',
  'server CPU, ms a second',
  'in the browser, worst',
] as const

/** The value in the middle; 0 of none. */
const median = (sorted: readonly number[]): number => sorted[Math.floor(sorted.length / 2)] ?? 0

const kilobytes = (bytes: number) => (bytes / 1_000).toFixed(bytes < 10_000 ? 1 : 0)

const cells = ({ step, requests, quietBytes, busyBytes, staleness, cpuMs, story }: Figures): string[] => [
  step,
  requests.toFixed(0),
  kilobytes(quietBytes),
  kilobytes(busyBytes),
  `${Math.round(median(staleness))} ms`,
  `${Math.round(staleness.at(-1) ?? 0)} ms`,
  cpuMs.toFixed(0),
  story ? `${story.worstMs} ms` : '',
]

/** The table of docs/migration. */
export function table(all: readonly Figures[]): string {
  const rows = [columns, columns.map((_, i) => (i ? '---:' : '---')), ...all.map(cells)]
  return rows.map((row) => `| ${row.join(' | ')} |`).join('\n')
}
