import type { TransportMemory } from '@everwire/client'
import type { Network } from '../../networks.js'
import { noFaults, type PathFaults } from '../../path-faults.js'
import { judge } from './judge.js'
import { createVisit, type Sight, type Visit } from './visit.js'

/** Who hears how a run goes. */
export interface RunView {
  /** A visit is on its way, or is in another phase; `look` shows it until the next one. */
  visiting(number: number, phase: string, look: () => Sight): void
  /** A visit is over, with what was wrong. */
  visited(number: number, sight: Sight, problems: readonly string[]): void
}

export interface RunOptions {
  view: RunView
  /** Changes what the path does to this browser. */
  setFaults(change: Partial<PathFaults>): Promise<unknown>
  /** Stops the run, which rejects then. */
  signal: AbortSignal
}

const lookEveryMs = 20
const firstMessageMs = 20_000
const winnerMs = 8_000
const settleMs = 15_000
const holdMs = 700
const outageMs = 2_000
/** Silence is cut after 5 s, by chance or not; learnt after two cuts, and then it must not be cut any more. */
const learnMs = 20_000
const quietMs = 6_500

/** Visits a network twice. @returns whether all was as expected */
export async function runNetwork(
  network: Network,
  { view, setFaults, signal }: RunOptions,
): Promise<boolean> {
  const remembered = new Map<string, string>()
  const memory: TransportMemory = {
    getItem: (key) => remembered.get(key) ?? null,
    setItem: (key, value) => void remembered.set(key, value),
  }
  await setFaults({ ...noFaults, ...network.faults })
  let isGood = true
  for (const number of [1, 2]) {
    signal.throwIfAborted()
    const visit = createVisit(memory)
    try {
      const say = (phase: string) => view.visiting(number, phase, visit.look)
      const found = await play(network, number, visit, { say, setFaults, signal })
      const sight = visit.look({ settled: true })
      const problems = [...judge(network, number, sight), ...found]
      isGood &&= problems.length === 0
      view.visited(number, sight, problems)
    } finally {
      visit.close()
    }
  }
  return isGood
}

/** @returns what was wrong beside what can be seen of the visit in the end */
async function play(
  network: Network,
  number: number,
  visit: Visit,
  { say, setFaults, signal }: Omit<RunOptions, 'view'> & { say(phase: string): void },
): Promise<string[]> {
  const problems: string[] = []
  const until = (holds: () => boolean, mostMs: number) => poll(holds, mostMs, signal)
  const wait = (ms: number) => until(() => false, ms)
  visit.connect()
  say('connecting')
  await until(() => visit.look().firstMs !== undefined, firstMessageMs)
  say('messages go to and fro')
  await until(() => visit.look().transport === network.expected, winnerMs)
  await wait(holdMs)
  if (network.play === 'outage') {
    say('the network is gone')
    await setFaults({ cable: 'cut' })
    await wait(outageMs)
    // Between two rounds of tries: what is tried in the middle of one would win, and not the best.
    await until(() => visit.look().tries.every(({ endedMs }) => endedMs !== undefined), outageMs)
    const { received } = visit
    await setFaults({ cable: 'ok' })
    say('the network is back')
    await until(() => visit.received > received, firstMessageMs)
    await wait(holdMs)
  } else if (network.play === 'silence') {
    visit.publish(false)
    if (number === 1) {
      say('silence, until two links are cut')
      await until(() => visit.look().falls >= 2 && visit.look().transport !== undefined, learnMs)
    }
    say('silence, in which no link may be cut any more')
    const { falls } = visit.look()
    await until(() => visit.look().falls > falls, quietMs)
    if (visit.look().falls > falls) problems.push('A link was cut in silence though the timeout was known.')
    visit.publish(true)
    await wait(holdMs)
  }
  visit.publish(false)
  say('waiting for the last messages')
  await until(() => visit.isSettled, settleMs)
  return problems
}

/** Resolves as soon as it holds, or when the time is over. Rejects when the run is stopped. */
function poll(holds: () => boolean, mostMs: number, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + mostMs
  return new Promise((resolve, reject) => {
    const look = () => {
      if (signal.aborted) reject(new Error('stopped'))
      else if (holds() || performance.now() >= deadline) resolve()
      else setTimeout(look, lookEveryMs)
    }
    look()
  })
}
