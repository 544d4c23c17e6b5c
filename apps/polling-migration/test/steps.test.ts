import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { partOf, stepNames } from '../src/steps.js'
import { diffOf, withDiffs } from './step-diffs.js'

const most = { client: 15, server: 25 }
/** Each step after the first, beside the one it is taken from. */
const taken: Record<string, string> = { 1: '0', 2: '1', 3: '2', '3-postgres': '2', '3-url': '2', 4: '3' }

t.test('there is no Everwire in step 0', async (t) => {
  for (const part of ['server.ts', 'page.ts', 'plain.html'] as const)
    t.notMatch(readFileSync(partOf('0', part)!, 'utf8'), /everwire/i, part)
})

t.test('each step is small', async (t) => {
  t.strictSame(
    stepNames.filter((step) => step !== '0'),
    Object.keys(taken).sort(),
  )
  for (const [step, from] of Object.entries(taken)) {
    const server = diffOf(from, step, 'server.ts').lines
    const page = diffOf(from, step, 'page.ts').lines
    const plain = diffOf(from, step, 'plain.html').lines
    t.comment(`step ${step}: server ${server}, page ${page}, plain script ${plain}`)
    t.ok(server + page > 0, `step ${step} does something`)
    t.ok(server <= most.server, `server of step ${step}: ${server}`)
    t.ok(page <= most.client, `page of step ${step}: ${page}`)
    t.ok(plain <= most.client, `page in plain script of step ${step}: ${plain}`)
  }
})

t.test('the guide shows the differences of the files as they are', async (t) => {
  const file = new URL('../../../docs/migration/README.md', import.meta.url)
  const page = readFileSync(file, 'utf8')
  // EVERWIRE_WRITE=1 brings the guide up to date.
  if (process.env.EVERWIRE_WRITE) writeFileSync(file, withDiffs(page))
  else t.equal(page, withDiffs(page))
})
