// npm test: formatting, lint, types, what is unused, what would be published, and every test. The last line is
// "N passed, N failed"; results.mjs says what is counted, and a check that fails counts as one more failure.
import { existsSync, rmSync } from 'node:fs'
import { at, findPackages, hasTests, install, main, pnpm, say, seconds, turbo } from './lib.mjs'
import { providePrograms } from './programs.mjs'

const checks = {
  format: () => pnpm(['run', 'format:check'], { quiet: true }),
  lint: () => pnpm(['run', 'lint'], { quiet: true }),
  // All in one program: each source is read once. With its own libraries each package's is checked where it is built.
  typecheck: () => pnpm(['run', 'typecheck'], { quiet: true }),
  unused: () => pnpm(['run', 'check:unused'], { quiet: true }),
  packages: () => pnpm(['run', 'check:packages'], { quiet: true }),
  sizes: () => pnpm(['run', 'check:sizes'], { quiet: true }),
}

// "min" prints failures only; tap's own default would print each line twice once there is an output file.
const tap = { TAP_REPORTER: 'min', TAP_OUTPUT_FILE: '.tap/results.tap' }
const resultsOf = ({ folder }) => at(folder, tap.TAP_OUTPUT_FILE)

async function runChecks() {
  const failed = []
  for (const [name, check] of Object.entries(checks)) {
    const started = Date.now()
    const { code, output } = await check()
    if (code !== 0) {
      say(output)
      failed.push(name)
    }
    say(`${name}: ${code === 0 ? 'ok' : 'FAILED'} (${seconds(Date.now() - started)})`)
  }
  return failed
}

async function runSuites(suites) {
  if (suites.length === 0) return 0
  const filters = suites.map(({ name }) => `--filter=${name}`)
  const args = ['test', '--concurrency=2', '--continue', '--output-logs=errors-only', ...filters]
  const { code } = await turbo(args, { env: tap })
  return code
}

async function runOwnSuite() {
  const { code } = await pnpm(['exec', 'tap', 'scripts/test/*.test.mjs'], { env: tap })
  return code
}

async function report(suites) {
  // Here and not above: its parser is there only after the install.
  const { readResults } = await import('./results.mjs')
  const total = { passed: 0, failed: [], notRun: [] }
  for (const suite of suites) {
    const results = existsSync(resultsOf(suite))
      ? readResults(resultsOf(suite))
      : { passed: 0, failed: ['wrote no results'], notRun: [], ms: 0 }
    const named = (name) => `${suite.name} > ${name}`
    say(`${suite.name}: ${results.passed} passed, ${results.failed.length} failed (${seconds(results.ms)})`)
    total.passed += results.passed
    total.failed.push(...results.failed.map(named))
    total.notRun.push(...results.notRun.map(({ name, reason }) => ({ name: named(name), reason })))
  }
  return total
}

async function test() {
  await install()
  await providePrograms()
  const failedChecks = await runChecks()
  // One suite for each package that has tests, and one for this folder.
  const all = findPackages()
  const withTests = all.filter(hasTests)
  const without = all.filter((one) => !hasTests(one))
  const own = { name: 'scripts', folder: '.' }
  for (const suite of [own, ...withTests]) rmSync(resultsOf(suite), { force: true })
  const codes = [await runOwnSuite(), await runSuites(withTests)]
  const { passed, failed, notRun } = await report([own, ...withTests])
  for (const { name } of without) say(`NOT RUN ${name}: it has no tests`)
  for (const { name, reason } of notRun) say(`NOT RUN ${name}: ${reason}`)
  failed.push(...failedChecks)
  if (failed.length === 0 && codes.some((code) => code !== 0)) failed.push('a suite ended with an error')
  if (failed.length === 0 && passed === 0) failed.push('no test was found')
  for (const name of failed) say(`FAILED ${name}`)
  return { passed, failed: failed.length }
}

await main(async () => {
  let ended = { passed: 0, failed: 1 }
  try {
    ended = await test()
  } catch (error) {
    say(error instanceof Error ? error.message : String(error))
  }
  say(`${ended.passed} passed, ${ended.failed} failed`)
  return ended.failed === 0 ? 0 : 1
})
