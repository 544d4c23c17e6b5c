import { backoff, defaults } from '@everwire/core'
import { createLedger } from '@everwire/testkit/ledger'
import { transportNames, type TransportName } from '../../src/networks.js'
import { only, type Entry, type EntryOf } from './entry.js'
import type { Record } from './stage.js'

export const sabotages = ['expect-other', 'lossy', 'double', 'forgetful'] as const
export type Sabotage = (typeof sabotages)[number]

export interface Row {
  scenario: string
  client: string
  visit: number
  expected: string
  winner: string
  connectedMs: number | undefined
  firstMs: number | undefined
  attempts: number
  failed: number
  /** Links lost. */
  falls: number
  /** Moves to another transport. */
  switches: number
  lost: number
  doubled: number
  isWrongWinner: boolean
  isSlow: boolean
  /** Whatever else is wrong, in words. */
  faults: string[]
  /** What the client itself says. */
  sentence: string
}

/** Clocks and timers are read apart from each other. */
const toleranceMs = 30
/** One in so many is lost, or doubled, by a sabotage. */
const every = 17

export function judge(record: Record, sabotage: Sabotage | undefined): Row {
  const { scenario, kind, number, connectedMs, firstMs, transport, explanation } = record
  const { mostFalls = 0, mostSwitches = 1 } = scenario
  const expected = sabotage === 'expect-other' ? otherThan(scenario.expected) : scenario.expected
  const attempts = only(record.entries, 'attempt').sort((a, b) => a.at - b.at)
  const states = only(record.entries, 'state')
  const falls = lostLinks(states)
  const carriers = states.flatMap(({ state, transport }) => (state === 'connected' ? [transport] : []))
  const switches = carriers.filter((name, i) => i > 0 && name !== carriers[i - 1]).length

  const { lost, doubled, faults } = judgeTraffic(record, sabotage)
  faults.push(...record.faults)
  const slowest = scenario.limitsMs[number - 1]!
  const isSlow = firstMs === undefined || firstMs > slowest
  if (isSlow) faults.push(`the first message took ${inMs(firstMs)}, more than ${slowest} ms`)
  let isWrongWinner = expected !== undefined && transport !== expected
  if (isWrongWinner) faults.push(`${transport} carried the session in the end, not ${expected}`)
  const [first] = attempts
  if (number === 2 && !scenario.poor && !isWrongWinner && (!first?.ok || first.transport !== transport)) {
    isWrongWinner = true
    faults.push(`the second visit began with ${first?.transport}: ${first?.reason}, not with ${transport}`)
  }
  if (falls > mostFalls) faults.push(`${falls} links were lost, more than ${mostFalls}`)
  if (switches > mostSwitches) faults.push(`it flaps: ${switches} moves between transports`)
  faults.push(...tooFast(record))
  return {
    scenario: scenario.name,
    client: kind,
    visit: number,
    expected: expected ?? 'any',
    winner: transport ?? 'none',
    connectedMs,
    firstMs,
    attempts: attempts.length,
    failed: attempts.filter(({ ok }) => !ok).length,
    falls,
    switches,
    lost,
    doubled,
    isWrongWinner,
    isSlow,
    faults,
    sentence: explanation.sentence,
  }
}

export const isGood = ({ lost, doubled, isWrongWinner, isSlow, faults }: Row): boolean =>
  lost + doubled === 0 && !isWrongWinner && !isSlow && faults.length === 0

const inMs = (ms: number | undefined) => (ms === undefined ? 'for ever' : `${ms.toFixed(0)} ms`)

const otherThan = (expected: TransportName | undefined) => transportNames.find((name) => name !== expected)

/** Times that a link was lost: a round of attempts that fails in between is none. */
export const lostLinks = (states: readonly EntryOf<'state'>[]): number =>
  states.filter(({ state }, i) => state === 'reconnecting' && states[i - 1]?.state === 'connected').length

/** What was lost and doubled, by a ledger that knows every publication. */
function judgeTraffic({ name, entries, published }: Record, sabotage: Sabotage | undefined) {
  const ledger = createLedger()
  const channel = 'lab'
  // In the order in which it happened on the one machine; a publication begins before all else of the same moment.
  const rank = ({ kind }: Entry) => (kind === 'publishing' ? 0 : 1)
  const all = [...published, ...entries].sort((a, b) => a.at - b.at || rank(a) - rank(b))
  let received = 0
  for (const entry of all) {
    if (entry.kind === 'subscribed') ledger.subscribed(name, channel)
    else if (entry.kind === 'gap') ledger.gap(name, channel, entry.reason)
    else if (entry.kind === 'received') {
      const hit = ++received % every === 0
      if (hit && sabotage === 'lossy') continue
      ledger.received(name, channel, entry.publisher, entry.n)
      if (hit && sabotage === 'double') ledger.received(name, channel, entry.publisher, entry.n)
    } else if (entry.kind !== 'state' && entry.kind !== 'attempt')
      ledger[entry.kind](channel, entry.publisher, entry.n)
  }
  const { lost, doubled, misordered, unsignalledGaps, falseGaps, phantoms, accepted, details } =
    ledger.verdict()
  const gaps = only(entries, 'gap').map(({ reason }) => reason)
  return {
    lost,
    doubled,
    faults: [
      ...details,
      ...(misordered + unsignalledGaps + falseGaps + phantoms > 0
        ? [`misordered ${misordered}, unsignalled gaps ${unsignalledGaps}, phantoms ${phantoms}`]
        : []),
      // The history is longer than any outage here.
      ...(gaps.length > 0 ? [`gaps were told: ${gaps.join(', ')}`] : []),
      ...(accepted < 10 ? [`only ${accepted} publications were accepted: nothing was put to the test`] : []),
    ],
  }
}

/** Attempts that came sooner after a link was lost than the backoff allows, with the jitter that this client drew. */
function tooFast({ entries, jitter, scenario }: Record): string[] {
  const attempts = only(entries, 'attempt')
  const faults: string[] = []
  let rounds = 0
  for (const { at, state } of only(entries, 'state')) {
    if (state === 'connected') rounds = 0
    if (state !== 'reconnecting') continue
    const backedOff = backoff(rounds++, { random: () => jitter })
    // Who is told that the network is back need not wait longer than at first.
    const waitMs = scenario.isToldOfNetwork ? Math.min(backedOff, jitter * defaults.backoffMs) : backedOff
    const early = attempts.find((attempt) => attempt.at > at && attempt.at < at + waitMs - toleranceMs)
    if (early)
      faults.push(
        `${early.transport} was tried ${early.at - at} ms after a loss; the backoff says ${waitMs.toFixed(0)} ms`,
      )
  }
  return faults
}
