import { performance } from 'node:perf_hooks'
import type { Browser } from 'playwright-core'
import { until } from '../support/until.js'
import type { Backend } from './backend.js'
import type { DevServer } from './dev-server.js'

export interface Visit {
  transport: string
  /** Sessions on the server after each edit of the module. */
  edits: { kept: number; linked: number; settledMs: number }[]
  /** Slowest publication, from the server to the page. */
  deliveryMs: number
  /** How long the server kept the session of a tab that was closed; undefined when it waits for it to come back. */
  goodbyeMs: number | undefined
}

const patienceMs = 30_000
const settleMs = 3_000

/** Opens the page in a tab, edits its module, and closes the tab. Rejects when the page does not get what it waits for. */
export async function visit(
  { browser, server, backend }: { browser: Browser; server: DevServer; backend: Backend },
  transport: string,
  { edits = 5, goodbyePatienceMs = 3_000 }: { edits?: number; goodbyePatienceMs?: number } = {},
): Promise<Visit> {
  await until('no session is left of what was before', () => backend.sessions().linked === 0, patienceMs)
  const before = backend.sessions().kept
  const page = await browser.newPage()
  const output = page.locator('output')
  const shows = (text: string) =>
    output
      .filter({ hasText: text })
      .waitFor({ state: 'attached', timeout: patienceMs })
      .catch(async () => {
        const shown = await output.textContent({ timeout: 1_000 }).catch(() => 'nothing')
        throw new Error(`the page should show "${text}", but shows "${shown}"`)
      })
  let deliveryMs = 0
  let number = 0
  const deliver = async () => {
    const sent = performance.now()
    await backend.publish(++number)
    await shows(`version ${server.version}, ${transport}, ${number}`)
    deliveryMs = Math.max(deliveryMs, performance.now() - sent)
  }
  const one = () => backend.sessions().linked === 1 && backend.sessions().kept - before === 1

  await page.goto(`${server.url}?${transport}`)
  await shows(`version ${server.version}, ${transport}`)
  await deliver()
  const seen: Visit['edits'] = []
  for (let edit = 0; edit < edits; edit++) {
    await server.edit()
    await shows(`version ${server.version}, ${transport}`)
    const shown = performance.now()
    await until('one session', one, settleMs).catch(() => {})
    const { kept, linked } = backend.sessions()
    seen.push({ kept: kept - before, linked, settledMs: performance.now() - shown })
    await deliver()
  }

  await page.close()
  const closed = performance.now()
  await until('the link of a closed tab is gone', () => backend.sessions().linked === 0, patienceMs)
  const goodbyeMs = await until('good-bye', () => backend.sessions().kept === before, goodbyePatienceMs).then(
    () => performance.now() - closed,
    () => undefined,
  )
  return { transport, edits: seen, deliveryMs, goodbyeMs }
}
