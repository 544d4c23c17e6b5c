import t, { type Test } from 'tap'
import type { Page } from 'playwright-core'
import { createBrowserWorld } from './browser-world.js'
import { pollUntil, until } from '../verify/support/until.js'

// `shareTabs` in a real browser: Web Locks, BroadcastChannel, tabs that die.

const world = await createBrowserWorld()
t.teardown(() => world.close())

async function openTabs(t: Test, tokens: string[]): Promise<Page[]> {
  const context = await world.browser.newContext()
  t.teardown(() => context.close())
  const tabs: Page[] = []
  for (const token of tokens) {
    const tab = await context.newPage()
    await tab.goto(world.url)
    await tab.evaluate((token) => window.page.start(token, { shareTabs: true }), token)
    tabs.push(tab)
  }
  return tabs
}

const heard = (tab: Page) => tab.evaluate(() => window.page.heard)
const isLeader = async (tab: Page) =>
  !/another tab/.test(await tab.evaluate(() => window.page.client.explain().sentence))

/** Each number once, in order, up to the last. */
const isWhole = (numbers: number[], last: number) =>
  numbers.at(-1) === last && numbers.every((n, i) => i === 0 || n === numbers[i - 1]! + 1)

t.test('three tabs are one session, and a leader that is killed costs nothing', async (t) => {
  const stop = world.publish()
  const tabs = await openTabs(t, ['ann', 'ann', 'ann'])
  t.equal(world.sessions().length, 1)
  const leaders = await Promise.all(tabs.map(isLeader))
  t.equal(leaders.filter(Boolean).length, 1)
  const leader = tabs[leaders.indexOf(true)]!
  const [left, right] = tabs.filter((tab) => tab !== leader) as [Page, Page]
  await left.evaluate(() => window.page.client.channel('chat:a').publish('word', 'before'))

  // The renderer dies: no handler of the page runs.
  const crash = leader.context().newCDPSession(leader)
  void (await crash).send('Page.crash').catch(() => {})
  await pollUntil('another leader', async () => (await isLeader(left)) || (await isLeader(right)), 15_000)
  await until(
    'a session of its own',
    () => world.sessions().some(({ transport }) => transport !== undefined),
    15_000,
  )
  await left.evaluate(() => window.page.client.channel('chat:a').publish('word', 'after'))
  await world.more()
  stop()
  const last = world.published()
  for (const tab of [left, right]) {
    await pollUntil('the last number', async () => (await heard(tab)).numbers.at(-1) === last, 15_000)
    const { numbers, gaps } = await heard(tab)
    t.ok(isWhole(numbers, last), 'lost 0, doubled 0')
    t.same(gaps, [])
  }
})

t.test('two users never share', async (t) => {
  const before = new Set(world.sessions().map(({ id }) => id))
  const [bob, eve] = (await openTabs(t, ['bob', 'eve'])) as [Page, Page]
  t.same(
    world
      .sessions()
      .filter(({ id }) => !before.has(id))
      .map(({ userId }) => userId)
      .sort(),
    ['bob', 'eve'],
  )
  await world.app.everwire.publishToUser('bob', 'secret', 'for bob')
  await pollUntil('what is for bob', async () => (await heard(bob)).mine.length === 1, 10_000)
  t.same((await heard(eve)).mine, [])
})
