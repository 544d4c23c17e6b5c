import { createPolling, type Poll } from '@everwire/polling-bridge/client'
import { startNats } from '@everwire/testkit/nats-server'
import { startPostgres } from '@everwire/testkit/postgres-server'
import { createClient, webSocket } from 'everwire/client'
import pg from 'pg'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { tokenFor } from '../src/users.js'
import { startApp, type AppOptions, type AppProcess } from '../verify/migration/app-process.js'
import { until } from '../verify/migration/until.js'

// The steps as they stand, with pages of Node instead of a browser.

t.setTimeout(120_000)
const patienceMs = 20_000
const key = 'an-operator-who-knows-this-by-heart'

interface Order {
  id: number
  item: string
  status: string
}

async function start(t: Test, options: AppOptions): Promise<AppProcess> {
  const app = await startApp({ ...options, env: { OPERATOR_KEY: key, ...options.env } })
  t.teardown(() => app.kill())
  return app
}

const headersOf = (user: string) => ({ authorization: `Bearer ${tokenFor(user)}` })

async function post(app: AppProcess, path: string, body: unknown, user = 'service'): Promise<void> {
  const headers = { ...headersOf(user), 'content-type': 'application/json' }
  const answer = await fetch(app.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
  if (answer.status !== 201) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
}

/** A page of a user that polls so seldom that what it shows soon has come live. */
function open<Data>(t: Test, app: AppProcess, path: string, { user = 'ann', intervalMs = 60_000 } = {}) {
  const client = createClient({
    url: `${app.url}/everwire`,
    transports: [webSocket({ WebSocket })],
    getToken: () => tokenFor(user),
  })
  const polling = createPolling({ client, headers: headersOf(user) })
  const shown: Data[] = []
  const poll: Poll<Data> = polling.poll<Data>({
    url: app.url + path,
    intervalMs,
    onData: (data) => shown.push(data),
  })
  t.teardown(() => {
    polling.close()
    client.close()
  })
  return {
    poll,
    shown,
    live: () => until(`${user} is live`, () => poll.state === 'live', patienceMs),
    shows: (what: string) => until(what, () => JSON.stringify(shown.at(-1)).includes(what), patienceMs),
  }
}

t.test('at each step what is written is shown live, and what a schema hides is not', async (t) => {
  await Promise.all(
    ['1', '3', '4'].map(async (step) => {
      const app = await start(t, { step })
      const page = open<Order[]>(t, app, '/api/orders')
      await page.live()
      for (const item of ['first', 'second', 'third']) {
        await post(app, '/api/orders', { item })
        await page.shows(item)
      }
      t.notMatch(JSON.stringify(page.shown), /cost/, step)
      const newest = page.shown.map((orders) => Math.max(...orders.map(({ id }) => id)))
      t.strictSame(
        newest,
        [...newest].sort((a, b) => a - b),
        step,
      )
    }),
  )
})

t.test('two users never see what is the other one’s', async (t) => {
  const app = await start(t, { step: '3' })
  const ann = open(t, app, '/api/inbox')
  const bob = open(t, app, '/api/inbox', { user: 'bob' })
  await Promise.all([ann.live(), bob.live()])
  await post(app, '/api/inbox', { to: 'ann', text: 'for ann' }, 'bob')
  await post(app, '/api/inbox', { to: 'bob', text: 'for bob' }, 'ann')
  await Promise.all([ann.shows('for ann'), bob.shows('for bob')])
  t.notMatch(JSON.stringify(ann.shown), /for bob/)
  t.notMatch(JSON.stringify(bob.shown), /for ann/)
})

t.test('operators send every page back to polling, and live again', async (t) => {
  const app = await start(t, { step: '3' })
  const set = async (control: object) => {
    const answer = await fetch(`${app.url}/everwire/channels/polling-bridge:control?event=set`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify(control),
    })
    t.ok(answer.ok, JSON.stringify(control))
  }
  const pages = ['ann', 'bob', 'cy'].map((user) =>
    open<Order[]>(t, app, '/api/orders', { user, intervalMs: 500 }),
  )
  const all = (state: string) =>
    until(`all ${state}`, () => pages.every(({ poll }) => poll.state === state), patienceMs)
  await all('live')
  await set({ mode: 'polling' })
  await all('polling')
  await post(app, '/api/orders', { item: 'while polling' })
  await Promise.all(pages.map((page) => page.shows('while polling')))
  t.ok(pages.every(({ poll }) => poll.state === 'polling'))
  await set({})
  await all('live')
  await set({ rollout: 0 })
  await all('polling')
})

t.test(
  'where the writer can’t be touched: a database that notifies, an old server that is asked',
  async (t) => {
    const postgres = await startPostgres()
    t.teardown(() => postgres.stop())
    const old = await start(t, { step: '0' })
    const [notified, asked] = await Promise.all([
      start(t, { step: '3-postgres', env: { DATABASE_URL: postgres.url } }),
      start(t, { step: '3-url', env: { LEGACY_URL: old.url } }),
    ])
    const database = new pg.Client(postgres.url)
    await database.connect()
    t.teardown(() => database.end())
    const ofDatabase = open<Order[]>(t, notified, '/api/orders')
    const ofOld = open<Order[]>(t, asked, '/api/orders')
    await Promise.all([ofDatabase.live(), ofOld.live()])
    await database.query(
      `insert into orders (item, customer, lines, cost) values ('written by hand', '{}', '[]', 1)`,
    )
    t.ok((await ofDatabase.shows('written by hand')) < 2_000, 'long before the next look')
    await post(old, '/api/orders', { item: 'written at the old server' })
    await ofOld.shows('written at the old server')
  },
)

t.test('the server that watches is killed: another one goes on', async (t) => {
  const [postgres, nats] = await Promise.all([startPostgres(), startNats()])
  t.teardown(async () => await Promise.all([postgres.stop(), nats.stop()]))
  const env = { DATABASE_URL: postgres.url, NATS_URL: nats.url }
  const apps = [await start(t, { step: '1', env }), await start(t, { step: '1', env })]
  const pages = apps.map((app) => open<Order[]>(t, app, '/api/orders'))
  await Promise.all(pages.map((page) => page.live()))
  await post(apps[0]!, '/api/orders', { item: 'before' })
  await Promise.all(pages.map((page) => page.shows('before')))
  // Whichever of them watches: each is killed once, with the other one's page looking on.
  await apps[0]!.kill()
  await post(apps[1]!, '/api/orders', { item: 'after' })
  const ms = await pages[1]!.shows('after')
  t.comment(`shown ${Math.round(ms)} ms after it was written`)
  apps[0] = await start(t, { step: '1', env, port: apps[0]!.port })
  await pages[0]!.shows('after')
  await pages[0]!.live()
  await apps[1]!.kill()
  await post(apps[0]!, '/api/orders', { item: 'at last' })
  await pages[0]!.shows('at last')
  t.pass()
})
