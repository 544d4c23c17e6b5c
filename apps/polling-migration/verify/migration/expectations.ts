import { isLive } from '../../src/steps.js'
import type { Figures } from './figures.js'
import type { Verdict } from './judge.js'
import type { LostLive } from './lost-live.js'
import type { Rolling } from './rolling.js'
import { pageIntervalMs } from './story.js'

const liveStalenessMs = 250
/** A poll takes a moment itself, and two cores are shared by all processes here. */
const slackMs = 1_000
/** What is left of step 0. */
const shares = { unchangedBytes: 0.2, requests: 0.05 }

/** What is wrong with a step, beside step 0. */
export function judgeFigures(figures: Figures, base: Figures | undefined, intervalMs: number): string[] {
  const { step, staleness, requests, quietBytes, story } = figures
  const faults = [...faultsOf(figures), ...(story?.faults ?? [])]
  const within = (what: string, ms: number, pollMs: number) => {
    const allowedMs = isLive(step) ? liveStalenessMs : pollMs + slackMs
    if (ms > allowedMs) faults.push(`${what}: ${ms} ms, more than ${allowedMs} ms`)
  }
  within('worst staleness', staleness.at(-1) ?? Infinity, intervalMs)
  if (story) within('in the browser', story.worstMs, pageIntervalMs)
  if (story) within('in plain script', story.plainMs, pageIntervalMs)
  if (base && step === '1' && quietBytes > base.quietBytes * shares.unchangedBytes)
    faults.push(`${Math.round((100 * quietBytes) / base.quietBytes)} % of the bytes of step 0`)
  if (base && isLive(step) && requests > base.requests * shares.requests)
    faults.push(`${((100 * requests) / base.requests).toFixed(1)} % of the requests of step 0`)
  return faults
}

/** What is wrong with servers that are replaced under load. */
export const judgeRolling = (rolling: Rolling): string[] => faultsOf(rolling)

/** What is wrong with a live connection that was away. */
export function judgeLostLive(lost: LostLive, intervalMs: number): string[] {
  const allowedMs = intervalMs + slackMs
  const isLate = lost.awayMs > allowedMs
  return [
    ...faultsOf(lost),
    ...(isLate ? [`staleness ${lost.awayMs} ms while it was away, more than ${allowedMs} ms`] : []),
  ]
}

const faultsOf = ({ missed, backwards, leaked }: Verdict): string[] => [
  ...(missed ? [`${missed} clients did not show the end`] : []),
  ...(backwards ? [`${backwards} times older after newer`] : []),
  ...(leaked ? [`${leaked} letters shown to others`] : []),
]
