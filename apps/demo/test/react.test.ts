import { everwire } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import { webSocket } from '@everwire/transport-websocket/server'
import { build } from 'esbuild'
import Fastify from 'fastify'
import type { AddressInfo } from 'node:net'
import { launchChromium } from '@everwire/testkit/chromium'
import type { Page } from 'playwright-core'
import { createElement as h } from 'react'
import { renderToString } from 'react-dom/server'
import t, { type Test } from 'tap'
import { App, type View } from './react-page.js'
import { until } from '../verify/support/until.js'

// The hooks in a real browser, in StrictMode, on a page that a server has rendered.

const app = Fastify({ forceCloseConnections: true })
const browser = launchChromium()
const sessions = () => app.everwire.sessions()

t.before(async () => {
  const { outputFiles } = await build({
    entryPoints: [`${import.meta.dirname}/react-browser.ts`],
    ...{ bundle: true, write: false, format: 'esm', target: 'es2022', conditions: ['@everwire/source'] },
    define: { 'process.env.NODE_ENV': '"development"' },
    logLevel: 'warning',
  })
  await app.register(everwire, {
    transports: [webSocket(), sse(), longPolling()],
    authenticate: () => ({ userId: null }),
  })
  app.everwire.channel('chat:*', {
    subscribe: (_session, channel) => channel !== 'chat:closed',
    publish: true,
  })
  app.get('/page.js', (_request, reply) => reply.type('text/javascript').send(outputFiles[0]!.contents))
  app.get('/', (_request, reply) =>
    reply
      .type('text/html')
      .send(
        `<!doctype html><link rel="icon" href="data:,"><div id="root">${renderToString(
          h(App),
        )}</div><script type="module" src="/page.js"></script>`,
      ),
  )
  await app.listen({ port: 0, host: '127.0.0.1' })
})
t.teardown(async () => {
  await (await browser).close()
  await app.close()
})

/** A page in a browser of its own, and the frames of one kind that it sent. */
async function visit(t: Test) {
  const context = await (await browser).newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.setDefaultTimeout(10_000)
  const sent: string[] = []
  const told: string[] = []
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && told.push(message.text()))
  page.on('pageerror', (error) => told.push(error.message))
  page.on('websocket', (socket) =>
    socket.on('framesent', ({ payload }) => {
      for (const [frame] of String(payload).matchAll(/\["(un)?sub",[^\]]*\]/g)) sent.push(frame)
    }),
  )
  await page.goto(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}/`)
  return {
    page,
    sent,
    /** What the browser complained about. */
    faults: async () => [...told, ...(await page.evaluate(() => window.faults))],
    show: (view: Partial<View>) => page.evaluate((change) => window.show(change), view),
    texts: (id: string) => page.locator(`#${id} li`).allTextContents(),
  }
}
const shows = (page: Page, ...selectors: string[]) =>
  Promise.all(selectors.map((selector) => page.locator(selector).waitFor({ state: 'attached' })))
const subscribed = (page: Page, ...ids: string[]) =>
  shows(page, ...ids.map((id) => `#${id}[data-status=subscribed]`))

t.test('one session and one subscription, however often StrictMode mounts and routes change', async (t) => {
  const { page, sent, faults, show, texts } = await visit(t)
  await subscribed(page, 'one', 'two', 'latest')
  t.same(sent, ['["sub","chat:a"]'])
  t.equal(sessions().length, 1)
  const [session] = sessions()

  for (const text of ['1', '2', '3']) await app.everwire.publish('chat:a', 'message', text)
  await app.everwire.publish('chat:a', 'typing', 'ann')
  await page.locator('#two button').click({ force: true })
  await shows(page, '#one li:nth-child(4)', '#two li:nth-child(4)', '#latest:text("of two")')
  for (const id of ['one', 'two']) t.same(await texts(id), ['1', '2', '3', 'of two'])

  // Another route, whose components read the same channel.
  await show({ readers: { three: 'chat:a', four: null, five: 'chat:closed' }, latest: null })
  await shows(page, '#five[data-status=forbidden]', '#four[data-status=idle]')
  await subscribed(page, 'three')
  await app.everwire.publish('chat:a', 'message', '5')
  await shows(page, '#three li')
  t.same(await texts('three'), ['5'])
  await show({ readers: { three: 'chat:a', four: 'chat:b', five: null } })
  await subscribed(page, 'four')
  t.same(sent, ['["sub","chat:a"]', '["sub","chat:closed"]', '["sub","chat:b"]'])

  // Whoever goes takes nothing from those who stay; the last one unsubscribes.
  await show({ readers: { three: 'chat:a' } })
  await until('chat:b is left', () => sent.length === 4, 5_000)
  await app.everwire.publish('chat:a', 'message', '6')
  await shows(page, '#three li:nth-child(2)')
  await show({ readers: {} })
  await until('chat:a is left', () => sent.length === 5, 5_000)
  t.same(sent.slice(3), ['["unsub","chat:b"]', '["unsub","chat:a"]'])
  t.same(
    sessions().map(({ id }) => id),
    [session!.id],
  )
  await shows(page, '#connection:text("connected")')
  t.same(await faults(), [], 'it was hydrated, and nothing was wrong')
  await page.evaluate(() => window.unmount?.())
  await until('no session is left', () => sessions().length === 0, 5_000)
})

t.test('a provider that goes takes its session with it, and so does a hot reload', async (t) => {
  const { page, show, faults } = await visit(t)
  await subscribed(page, 'one', 'two')
  const ids = new Set([sessions()[0]!.id])

  // Mounted anew; and modules that were evaluated again.
  const again = [
    () => show({ provider: 2 }),
    () => page.addScriptTag({ type: 'module', url: '/page.js?changed' }).then(() => {}),
  ]
  for (const mount of again) {
    await mount()
    await until(
      'only another session is there',
      () => sessions().length === 1 && !ids.has(sessions()[0]!.id),
      5_000,
    )
    ids.add(sessions()[0]!.id)
    await subscribed(page, 'one', 'two')
    t.equal(sessions().length, 1)
  }
  t.equal(ids.size, 3)

  await show({ provider: 0 })
  await until('no session is left', () => sessions().length === 0, 5_000)
  t.same(await faults(), [])
})
