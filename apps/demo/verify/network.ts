/**
 * Bad networks, most of them by the real programs that make them: each with a page in a real browser and a client on Node
 * that come twice, the transport that must win, and the time that the first message may take. Both ends publish all the
 * while, and a ledger judges what arrives.
 *
 *     npm run verify:network [-- --brief] [-- --only NAME,NAME] [-- --seed N] [-- --markdown]
 *                            [-- --sabotage expect-other|lossy|double|forgetful]
 *
 * The last line is the verdict; the exit code is 1 when anything is wrong. With a sabotage that must be so.
 */
import { launchChromium } from '@everwire/testkit/chromium'
import { createRandom } from './support/random.js'
import { measureCosts } from './network/costs.js'
import { isGood, judge, type Row } from './network/judge.js'
import { formatRow, formatTotal } from './network/lines.js'
import { costsTable, scenariosTable } from './network/markdown.js'
import { scenarios } from './network/scenarios.js'
import { startServer } from './network/server.js'
import { readSettings, UsageError, type Settings } from './network/settings.js'
import { play } from './network/stage.js'

const readOrExit = (): Settings => {
  try {
    return readSettings(process.argv.slice(2), scenarios)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    console.error(error.message)
    process.exit(2)
  }
}

const settings = readOrExit()
const { seed, sabotage, brief, markdown } = settings
const say = (text: string) => console.log(text)
// What listens to the end of the process, such as the rules of the kernel, is told of signals too.
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.once(signal, () => process.exit(code))

say(`seed ${seed}${sabotage === undefined ? '' : `; sabotaged: ${sabotage}`}`)
const random = createRandom(seed)
const rows: Row[] = []
const faults: string[] = []
const [server, browser] = await Promise.all([startServer(), launchChromium()])
try {
  for (const scenario of settings.scenarios) {
    const obstacle = scenario.obstacle?.()
    if (obstacle !== undefined) {
      say(`${scenario.name}: NOT RUN: ${obstacle}`)
      continue
    }
    const forgetful = sabotage === 'forgetful'
    const stage = { server, browser, random: random.fork(scenario.name), brief, forgetful, say }
    try {
      for (const record of await play(scenario, stage)) {
        const row = judge(record, sabotage)
        rows.push(row)
        say(formatRow(row))
        for (const fault of row.faults) say(`  FAILED: ${fault}`)
        if (!isGood(row)) say(`  ${row.sentence}`)
      }
    } catch (error) {
      faults.push(scenario.name)
      say(`${scenario.name}: FAILED: ${(error as Error).stack}`)
    }
  }
  if (markdown) {
    say(`\n${scenariosTable(settings.scenarios, rows)}\n`)
    say(`${costsTable(await measureCosts(server))}\n`)
  }
} finally {
  await browser.close()
  await server.close()
}
say(formatTotal(rows))
process.exit(rows.every(isGood) && faults.length === 0 && rows.length > 0 ? 0 : 1)
