import t from 'tap'
import { createBrowserWorld } from './browser-world.js'
import { pollUntil, until } from '../verify/support/until.js'

// A page that is frozen, left and restored, whose token expires meanwhile; in a real browser.

/** How long the page is frozen. Longer than the test can wait for: EVERWIRE_FROZEN_MS=60000. */
const frozenMs = Number(process.env.EVERWIRE_FROZEN_MS ?? 4_000)
const world = await createBrowserWorld({
  heartbeatMs: 500,
  tokenGraceMs: 100,
  resumeWindowMs: frozenMs + 60_000,
})
t.teardown(() => world.close())

/** Each number once, in order, up to the last. */
const isWhole = (numbers: number[], last: number) =>
  numbers.at(-1) === last && numbers.every((n, i) => i === 0 || n === numbers[i - 1]! + 1)

t.test('a page that is frozen and wakes has lost nothing, and asks for one token', async (t) => {
  const context = await world.browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  await page.goto(world.url)
  const stop = world.publish()
  const expiresAt = Date.now() + frozenMs / 2
  await page.evaluate((token) => window.page.start(token), `ann!${expiresAt}`)
  await page.evaluate(() => void (window.page.token = 'ann'))
  const devtools = await context.newCDPSession(page)
  await devtools.send('Page.setWebLifecycleState', { state: 'frozen' })
  await new Promise((resolve) => setTimeout(resolve, frozenMs))
  await devtools.send('Page.setWebLifecycleState', { state: 'active' })
  await pollUntil(
    'the page to be back',
    () => page.evaluate(() => window.page.client.state === 'connected'),
    20_000,
  )
  await world.more()
  stop()
  const last = world.published()
  await pollUntil(
    'the last number',
    async () => (await page.evaluate(() => window.page.heard.numbers.at(-1))) === last,
    20_000,
  )
  const { numbers, gaps, tokens } = await page.evaluate(() => window.page.heard)
  t.ok(isWhole(numbers, last), 'lost 0, doubled 0')
  t.same(gaps, [])
  t.equal(tokens, 2, 'one at the start, one after it had expired')
  t.ok(world.expired.length <= 1, `${world.expired.length} times with the old one`)
  t.equal((await page.evaluate(() => window.page.client.stats())).sessions, 1)
})

t.test(
  'a page that is left and shown again goes on with its session; one that is closed leaves none',
  async (t) => {
    const context = await world.browser.newContext()
    const page = await context.newPage()
    await page.goto(world.url)
    await page.evaluate(() => window.page.start('ben'))
    const stop = world.publish()
    const own = () => world.sessions().filter(({ userId }) => userId === 'ben')
    await page.evaluate(() => void ((window as { mark?: boolean }).mark = true))
    await page.goto(`${world.url}/other`)
    await world.more()
    // A page from the cache is not loaded again: there is no load to wait for.
    await page.goBack({ waitUntil: 'commit' }).catch(() => {})
    await pollUntil('the first page', async () => new URL(page.url()).pathname === '/', 10_000)
    const isKept = await page.evaluate(() => (window as { mark?: boolean }).mark === true)
    t.ok(isKept, 'an open connection kept it not from the cache')
    await pollUntil(
      'the page to be back',
      () => page.evaluate(() => window.page.client.state === 'connected'),
      10_000,
    )
    stop()
    const last = world.published()
    await pollUntil(
      'the last number',
      async () => (await page.evaluate(() => window.page.heard.numbers.at(-1))) === last,
      10_000,
    )
    const { numbers, gaps } = await page.evaluate(() => window.page.heard)
    t.ok(isWhole(numbers, last), 'lost 0, doubled 0')
    t.same(gaps, [])
    t.equal(own().length, 1)
    await page.close({ runBeforeUnload: true })
    await until('its session to end', () => own().length === 0, 10_000)
    await context.close()
  },
)
