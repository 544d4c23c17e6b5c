import axe from 'axe-core'
import { launchChromium, withoutChromium } from '@everwire/testkit/chromium'
import type { Browser, Locator, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { createDemo } from '../src/app.js'
import { buildPage } from '../src/build-page.js'
import type { NetworkName } from '../src/networks.js'
import type { PathFaults } from '../src/path-faults.js'

// The lab's page in a real browser: what it shows of three networks, and what it leaves behind.

const options = { skip: withoutChromium }
const publicDir = t.testdir()
const demo = createDemo({ publicDir })
let browser: Browser
let url = ''

t.before(async () => {
  if (withoutChromium) return
  await buildPage(publicDir, { conditions: ['@everwire/source'] })
  const [{ port }, launched] = await Promise.all([demo.start(), launchChromium()])
  url = `http://127.0.0.1:${port}`
  browser = launched
})
t.teardown(async () => {
  await browser?.close()
  await demo.close()
})

/** A page of a visitor of its own, and what goes wrong in it. */
async function openLab(t: Test): Promise<{ page: Page; problems: string[] }> {
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  const problems: string[] = []
  page.on('pageerror', (error) => problems.push(String(error)))
  await page.goto(`${url}/lab`)
  return { page, problems }
}

const faultsOf = async (page: Page) =>
  (await (await page.context().request.get(`${url}/path/faults`)).json()) as PathFaults

const ok = { websocket: 'ok', sse: 'ok', cable: 'ok' }

async function figures(visit: Locator) {
  const values = await visit
    .locator('[data-figure]')
    .evaluateAll((all) =>
      all.map((one) => [one.getAttribute('data-figure')!, one.textContent ?? ''] as const),
    )
  return Object.fromEntries(values)
}

async function checkAccessibility(t: Test, page: Page, when: string): Promise<void> {
  await page.evaluate(axe.source)
  const found = await page.evaluate(async () => {
    const { axe: tool } = globalThis as unknown as { axe: typeof axe }
    const { violations } = await tool.run()
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)
  })
  t.strictSame(found, [], `axe finds nothing ${when}`)
}

const played: readonly [name: NetworkName, winner: string, triedFirst: string][] = [
  ['open', 'WebSocket', 'WebSocket'],
  ['silent-websocket', 'SSE', 'WebSocket'],
  ['holds-streams', 'Long polling', 'WebSocket'],
]

t.test('shows what wins on three networks, and that nothing is lost', options, async (t) => {
  const { page, problems } = await openLab(t)
  await checkAccessibility(t, page, 'before a run')
  for (const [name, winner, triedFirst] of played) {
    const card = page.locator(`#${name}`)
    await page.locator(`#run-${name}`).click()
    await page.locator(`#${name}[data-state="good"], #${name}[data-state="bad"]`).waitFor()
    t.strictSame(await card.locator('.problem li').allTextContents(), [], `${name}: nothing is wrong`)
    t.equal(await card.getAttribute('data-state'), 'good', name)
    for (const number of [1, 2]) {
      const visit = card.locator(`[data-visit="${number}"]`)
      t.match(
        await figures(visit),
        { winner, falls: '0', lost: '0', doubled: '0' },
        `${name}, visit ${number}`,
      )
      const tables = visit.locator('table')
      const first = tables.first().locator('tbody tr').first()
      t.equal(await first.locator('th').textContent(), number === 1 ? triedFirst : winner, 'tried first')
      t.match(await visit.locator('.sentence').textContent(), new RegExp(`^${winner} for `))
      t.equal(await tables.last().locator('tbody tr').count(), 3, 'a verdict on each transport')
    }
  }
  await page.locator('#status[data-state="connected"]').waitFor()
  t.strictSame(await faultsOf(page), ok, 'everything is let through again')
  await checkAccessibility(t, page, 'after it')
  t.strictSame(problems, [], 'no error in the page')
})

t.test('lets everything through again when it is stopped, and when it is left', options, async (t) => {
  const { page, problems } = await openLab(t)
  const run = page.locator('#run-silent-websocket')
  await run.click()
  await page.locator('#silent-websocket .trying').first().waitFor({ state: 'attached' })
  t.strictSame(await faultsOf(page), { ...ok, websocket: 'silent' })
  t.equal(await run.textContent(), 'Stop')
  t.ok(await page.locator('#run-open').isDisabled(), 'one run at a time')
  await run.click()
  await page.locator('#status[data-state="idle"]', { hasText: 'Stopped' }).waitFor()
  t.equal(await page.locator('#silent-websocket').getAttribute('data-state'), 'stopped')
  await page.locator('#run-open:enabled').waitFor()
  t.strictSame(await faultsOf(page), ok)

  await run.click()
  await page.locator('#silent-websocket .trying').first().waitFor({ state: 'attached' })
  t.strictSame(await faultsOf(page), { ...ok, websocket: 'silent' })
  await page.goto(`${url}/`)
  // Nobody waits for the answer to the page's last word: it has come when it shows.
  while ((await faultsOf(page)).websocket !== 'ok');
  t.strictSame(await faultsOf(page), ok)
  t.strictSame(problems, [], 'no error in the page')
})
