/**
 * The migration as its users have it: each step with many clients and real browsers beside them, servers that are replaced
 * by those of other steps under load, and a live connection that is lost for a while. Prints the table of docs/migration.
 *
 *     npm run verify:migration [-- --brief] [-- --only steps,old-pages,rolling,lost-live] [-- --step 0,2]
 *
 * The last line is the verdict; the exit code is 1 when anything is wrong.
 */
import { parseArgs } from 'node:util'
import { launchChromium } from '@everwire/testkit/chromium'
import { isLive, stepNames } from '../src/steps.js'
import { judgeFigures, judgeLostLive, judgeRolling } from './migration/expectations.js'
import { measure, type Figures } from './migration/figures.js'
import { table } from './migration/lines.js'
import { loseLive } from './migration/lost-live.js'
import { visitWithOldPage } from './migration/old-pages.js'
import { roll } from './migration/rolling.js'

const parts = ['steps', 'old-pages', 'rolling', 'lost-live'] as const
const { values } = parseArgs({
  options: { brief: { type: 'boolean', default: false }, only: { type: 'string' }, step: { type: 'string' } },
})
const { brief } = values
const chosen = values.only?.split(',') ?? parts
const steps = values.step?.split(',') ?? (brief ? ['0', '2'] : stepNames)
const unknown = [
  ...chosen.filter((part) => !parts.some((one) => one === part)),
  ...steps.filter((step) => !stepNames.includes(step)),
]
if (unknown.length > 0) {
  console.error(
    `Unknown: ${unknown.join(', ')}. --only takes ${parts.join(', ')}; --step ${stepNames.join(', ')}.`,
  )
  process.exit(2)
}

const intervalMs = brief ? 1_000 : 5_000
const say = (text: string) => console.log(text)
const faults: string[] = []
const totals = { missed: 0, backwards: 0, leaked: 0 }
function count({ missed, backwards, leaked }: typeof totals, name: string, found: string[]): void {
  totals.missed += missed
  totals.backwards += backwards
  totals.leaked += leaked
  for (const fault of found) say(`  FAILED: ${fault}`)
  faults.push(...found.map((fault) => `${name}: ${fault}`))
}

if (chosen.includes('steps')) {
  const browser = await launchChromium()
  const all: Figures[] = []
  const size = brief
    ? { clients: 10, phaseMs: 3_000, everyMs: 400 }
    : { clients: 50, phaseMs: 20_000, everyMs: 1_500 }
  try {
    for (const step of steps) {
      const figures = await measure({ step, browser, intervalMs, ...size, hasStory: !brief || isLive(step) })
      all.push(figures)
      const { staleness, story } = figures
      const plain = story ? `, in plain script ${story.plainMs} ms` : ''
      say(`step ${step}: ${staleness.length} changes shown${plain}`)
      count(
        figures,
        `step ${step}`,
        judgeFigures(
          figures,
          all.find((one) => one.step === '0'),
          intervalMs,
        ),
      )
    }
  } finally {
    await browser.close()
  }
  say(`\n${table(all)}\n`)
}
if (chosen.includes('old-pages') && !brief) {
  const browser = await launchChromium()
  for (const step of steps) {
    const found = await visitWithOldPage(browser, step)
    say(`the page of step 0 at step ${step}: ${found.length === 0 ? 'ok' : found.join('; ')}`)
    count({ missed: 0, backwards: 0, leaked: 0 }, `old page at step ${step}`, found)
  }
  await browser.close()
}
if (chosen.includes('rolling')) {
  const up = brief ? ['0', '3', '0'] : ['0', '1', '3', '4', '3', '1', '0']
  const size = brief ? { clients: 5, stayMs: 1_000 } : { clients: 15, stayMs: 8_000 }
  const rolled = await roll({ steps: up, intervalMs: 2_000, everyMs: 300, ...size })
  say(`rolled ${rolled.steps.join(' → ')}: live ${rolled.live.join(', ')} of ${size.clients}`)
  count(rolled, 'rolling', judgeRolling(rolled))
}
if (chosen.includes('lost-live')) {
  const lostMs = brief ? 4_000 : 30_000
  const lost = await loseLive({ clients: brief ? 5 : 20, intervalMs, lostMs, everyMs: 700 })
  say(
    `live lost for ${lostMs} ms: worst staleness ${lost.awayMs} ms, live again after ${Math.round(lost.backMs)} ms`,
  )
  count(lost, 'lost-live', judgeLostLive(lost, intervalMs))
}
const { missed, backwards, leaked } = totals
say(`missed ${missed} backwards ${backwards} leaked ${leaked} failed ${faults.length}`)
process.exit(faults.length === 0 ? 0 : 1)
