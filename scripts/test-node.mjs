// npm run test:node -- VERSION ...: the tests of packages on other versions of Node, each taken from npm.
import { existsSync, rmSync } from 'node:fs'
import { Refusal, at, findPackages, hasTests, install, main, run, say, seconds } from './lib.mjs'
import { providePrograms } from './programs.mjs'

// Slow, and what these need of Node itself, the others need too.
const drivers = /^packages\/(bus|presence)-/

const usage = 'Usage: npm run test:node -- VERSION ..., as in: npm run test:node -- 22 24'

/** @returns where npm keeps a Node of this version, and which it is exactly */
async function provideNode(version) {
  const print = 'console.log(JSON.stringify({ path: process.execPath, exact: process.versions.node }))'
  const { code, output } = await run('npx', ['--yes', `node@${version}`, '--eval', print], { quiet: true })
  const line = output.split('\n').find((each) => each.startsWith('{'))
  if (code !== 0 || !line) throw new Refusal(`${output}\nnpm did not bring Node ${version}.`)
  return JSON.parse(line)
}

async function testPackage({ folder }, { path, exact }) {
  const results = `.tap/node-${exact}.tap`
  rmSync(at(folder, results), { force: true })
  const { code, output } = await run(path, [at('node_modules/tap/dist/esm/run.mjs')], {
    quiet: true,
    cwd: at(folder),
    env: { TAP_REPORTER: 'min', TAP_OUTPUT_FILE: results },
  })
  // Here and not above: its parser is there only after the install.
  const { readResults } = await import('./results.mjs')
  const { passed, failed } = existsSync(at(folder, results))
    ? readResults(at(folder, results))
    : { passed: 0, failed: ['wrote no results'] }
  if (code !== 0 && failed.length === 0) failed.push('ended with an error')
  if (failed.length > 0) say(output)
  return { passed, failed }
}

/** One line for the version. */
async function testVersion(version, packages) {
  const started = Date.now()
  const node = await provideNode(version)
  let passed = 0
  const failed = []
  for (const each of packages) {
    const results = await testPackage(each, node)
    passed += results.passed
    failed.push(...results.failed.map((name) => `${each.name} > ${name}`))
  }
  for (const name of failed) say(`FAILED on Node ${node.exact}: ${name}`)
  const isOk = failed.length === 0 && passed > 0
  const counts = `${passed} passed, ${failed.length} failed`
  return { isOk, line: `Node ${node.exact}: ${counts} (${seconds(Date.now() - started)})` }
}

await main(async () => {
  const versions = process.argv.slice(2)
  if (versions.length === 0 || !versions.every((version) => /^\d+(\.\d+){0,2}$/.test(version)))
    throw new Refusal(usage)
  await install()
  await providePrograms()
  const packages = findPackages().filter(
    (each) => each.folder.startsWith('packages/') && !drivers.test(each.folder) && hasTests(each),
  )
  const results = []
  for (const version of versions)
    results.push(
      await testVersion(version, packages).catch((error) => {
        if (!(error instanceof Refusal)) throw error
        return { isOk: false, line: `Node ${version}: ${error.message}` }
      }),
    )
  for (const { line } of results) say(line)
  return results.every(({ isOk }) => isOk) ? 0 : 1
})
