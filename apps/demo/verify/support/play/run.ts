import { createLedger, formatVerdict, isClean } from '@everwire/testkit/ledger'
import type { NodeSabotage } from './node-settings.js'
import type { Scenario } from './scenario.js'
import { readSettings, UsageError, type Settings } from './settings.js'
import { setStage, type Judgement } from './stage.js'

/** Plays scenarios as the arguments of this process say, and ends it with the verdict. */
export async function run(
  scenarios: readonly Scenario[],
  sabotages: readonly NodeSabotage[],
): Promise<never> {
  const settings = readOrExit(scenarios, sabotages)
  const started = performance.now()
  const say = (text: string) =>
    console.log(`${((performance.now() - started) / 1_000).toFixed(1).padStart(6)} s  ${text}`)
  const { seed, sabotage } = settings
  say(`seed ${seed}${sabotage === undefined ? '' : `; the product is sabotaged: ${sabotage}`}`)

  const total = createLedger().verdict()
  let faults = 0
  for (const scenario of settings.scenarios) {
    const tell = (text: string) => say(`${scenario.name}: ${text}`)
    const { verdict, faults: others, figures } = await play(scenario, settings, tell)
    for (const key of ['lost', 'doubled', 'misordered', 'unsignalledGaps', 'falseGaps', 'phantoms'] as const)
      total[key] += verdict[key]
    faults += others.length
    for (const detail of verdict.details) tell(`  ${detail}`)
    for (const fault of others) tell(`FAILED: ${fault}`)
    tell(figures)
    tell(formatVerdict(verdict, {}, true))
  }
  console.log(formatVerdict(total, { scenarios: settings.scenarios.length }, true))
  process.exit(isClean(total, true) && faults === 0 ? 0 : 1)
}

function readOrExit(scenarios: readonly Scenario[], sabotages: readonly NodeSabotage[]): Settings {
  try {
    return readSettings(process.argv.slice(2), scenarios, sabotages)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    console.error(error.message)
    process.exit(2)
  }
}

async function play(
  { name, gaps, play: perform }: Scenario,
  { seed, brief, sabotage, trace }: Settings,
  say: (text: string) => void,
): Promise<Judgement> {
  const stage = setStage({
    scenario: name,
    seed,
    brief,
    sabotage,
    gaps,
    say,
    trace: (text) => void (trace && say(text)),
  })
  try {
    // What a scenario waits for in vain is a fault; what the clients saw counts all the same.
    await perform(stage).catch((error: Error) => stage.expect(false, error.message))
    return await stage.judge()
  } finally {
    await stage.close()
  }
}
