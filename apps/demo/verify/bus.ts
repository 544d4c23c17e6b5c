/**
 * Real servers on real NATS, killed, cut and rolled over while real clients on all transports publish and read. A ledger
 * judges, by what the clients saw.
 *
 *     npm run verify:bus [-- --seed N] [-- --brief] [-- --only SCENARIO] [-- --trace]
 *                        [-- --sabotage drop|double|reorder|hide-gap|no-tail-check]
 *
 * The last line is the verdict; the exit code is 1 when anything is wrong. With a sabotage that must be so.
 */
import { createLedger, formatVerdict, isClean } from '@everwire/testkit/ledger'
import { readSettings, UsageError } from './bus/settings.js'
import { setStage, type Judgement } from './bus/stage.js'
import type { Scenario } from './bus/scenarios.js'

const started = performance.now()
const say = (text: string) =>
  console.log(`${((performance.now() - started) / 1_000).toFixed(1).padStart(6)} s  ${text}`)

const settings = (() => {
  try {
    return readSettings(process.argv.slice(2))
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    console.error(error.message)
    process.exit(2)
  }
})()
const { seed, brief, sabotage } = settings
say(`seed ${seed}${sabotage === undefined ? '' : `; the product is sabotaged: ${sabotage}`}`)

async function play({ name, gaps, play: perform }: Scenario): Promise<Judgement> {
  const stage = setStage({
    scenario: name,
    seed,
    brief,
    sabotage,
    gaps,
    say: (text) => say(`${name}: ${text}`),
    trace: (text) => void (settings.trace && say(`${name}: ${text}`)),
  })
  try {
    // What a scenario waits for in vain is a fault; what the clients saw counts all the same.
    await perform(stage).catch((error: Error) => stage.expect(false, error.message))
    return await stage.judge()
  } finally {
    await stage.close()
  }
}

const total = createLedger().verdict()
let faults = 0
for (const scenario of settings.scenarios) {
  const { verdict, faults: others, figures } = await play(scenario)
  for (const key of ['lost', 'doubled', 'misordered', 'unsignalledGaps', 'falseGaps', 'phantoms'] as const)
    total[key] += verdict[key]
  faults += others.length
  for (const detail of verdict.details) say(`${scenario.name}:   ${detail}`)
  for (const fault of others) say(`${scenario.name}: FAILED: ${fault}`)
  say(`${scenario.name}: ${figures}`)
  say(`${scenario.name}: ${formatVerdict(verdict, {}, true)}`)
}
console.log(formatVerdict(total, { scenarios: settings.scenarios.length }, true))
process.exit(isClean(total, true) && faults === 0 ? 0 : 1)
