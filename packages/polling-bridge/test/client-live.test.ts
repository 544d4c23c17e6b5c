import type { FastifyRequest } from 'fastify'
import { createFaultProxy } from '@everwire/testkit'
import { createClient } from 'everwire/client'
import { memoryBus } from 'everwire/server'
import t, { type Test } from 'tap'
import { controlChannel } from '../src/change.js'
import { createPolling, type PollingOptions, type PollOptions } from '../src/client.js'
import { channel, createWatch, revisionOf, startOrders } from './orders-node.js'

// The client against real nodes, with a route that is written by hand.

type Orders = { n: number }

function start(t: Test, url: string, options: PollingOptions = {}, poll: Partial<PollOptions<Orders>> = {}) {
  const polling = createPolling(options)
  t.teardown(() => polling.close())
  const shown: number[] = []
  const errors: string[] = []
  const states: string[] = []
  const { look, until } = createWatch()
  const orders = polling.poll<Orders>({
    url,
    intervalMs: 200,
    ...poll,
    onData(data) {
      shown.push(data.n)
      look()
    },
    onError(error) {
      errors.push(error.code)
      look()
    },
  })
  orders.on('state', (state) => {
    states.push(state)
    look()
  })
  return { polling, orders, shown, errors, states, until }
}

function quickClient(t: Test, url: string) {
  const client = createClient({ url, backoffMs: 20, maxBackoffMs: 100 })
  t.teardown(() => client.close())
  return client
}

const rises = (numbers: readonly number[]) => numbers.every((n, at) => at === 0 || n > numbers[at - 1]!)

t.test('polls once, goes live, and shows what is published', async (t) => {
  const node = await startOrders(t)
  const { orders, shown, until } = start(t, node.url)
  t.equal(orders.state, 'polling')
  await until(() => orders.state === 'live')
  const { asked } = node
  await node.write({ n: 1 })
  await node.write({ n: 2 })
  await until(() => orders.data?.n === 2)
  t.strictSame(shown, [0, 1, 2])
  t.equal(node.asked, asked)
  t.equal(node.app.everwire.sessions().length, 1)
})

t.test('nothing is lost between an answer and its subscription', async (t) => {
  let n = 0
  const node = await startOrders(t, {
    // One write in the handler, after it has read; others follow at any time.
    answering: async () => {
      if (Math.random() < 0.5) await node.write({ n: ++n })
    },
  })
  for (let round = 0; round < 25; round++) {
    const { polling, orders, shown, until } = start(t, node.url, {}, { intervalMs: 60_000 })
    for (let writes = 0; writes < 4; writes++) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 12))
      void node.write({ n: ++n })
    }
    await until(() => orders.state === 'live' && orders.data?.n === n)
    t.ok(rises(shown), `shows ${shown.join(' ')}`)
    polling.close()
  }
})

t.test(
  'live is lost with its node, is polled for within one interval, and comes back by itself',
  async (t) => {
    const bus = memoryBus()
    const store = { data: { n: 0 } as unknown }
    const one = await startOrders(t, { bus, store })
    const { orders, shown, states, errors, until } = start(t, one.url, {
      client: () => quickClient(t, new URL('/everwire', one.url).href),
    })
    await until(() => orders.state === 'live')
    await one.app.close()
    await until(() => errors.length > 0)
    t.not(orders.state, 'live')
    store.data = { n: 1 }
    const two = await startOrders(t, { bus: memoryBus(), store, port: one.port })
    // Of a node that lost what was before: another epoch.
    await until(() => orders.data?.n === 1)
    await until(() => orders.state === 'live')
    t.equal(orders.failures, 0)
    await two.write({ n: 2 })
    await until(() => orders.data?.n === 2)
    t.strictSame(shown, [0, 1, 2])
    t.equal(states.at(-1), 'live')
  },
)

t.test('live is lost by its connection only, and nothing that was published meanwhile', async (t) => {
  const node = await startOrders(t)
  const { hostname, port } = new URL(node.url)
  let isBlocked = false
  const proxy = await createFaultProxy({
    target: { host: hostname, port: Number(port) },
    // The page's polls get through, its connection does not.
    decide: ({ url }) => (isBlocked && url!.startsWith('/everwire') ? { refuse: 502 } : {}),
  })
  t.teardown(() => proxy.close())
  const origin = `http://127.0.0.1:${proxy.port}`
  const { orders, shown, states, until } = start(t, `${origin}/api/orders`, {
    client: () => quickClient(t, `${origin}/everwire`),
  })
  await until(() => orders.state === 'live')
  isBlocked = true
  proxy.cut()
  await node.write({ n: 1 })
  await until(() => orders.data?.n === 1)
  await until(() => orders.state !== 'live')
  await node.write({ n: 2 })
  await until(() => orders.data?.n === 2)
  const { asked } = node
  isBlocked = false
  await until(() => orders.state === 'live')
  await node.write({ n: 3 })
  await until(() => orders.data?.n === 3)
  t.ok(rises(shown), `shows ${shown.join(' ')}`)
  t.strictSame(states.slice(0, 2), ['live', 'polling'])
  t.ok(node.asked - asked <= 3)
})

t.test('polls of one page share one session and one subscription', async (t) => {
  const node = await startOrders(t)
  const { polling, orders, until } = start(t, node.url)
  const more = polling.poll({ url: node.url, intervalMs: 1_000 })
  const other = polling.poll({ url: node.url, intervalMs: 1_000, key: 'other' })
  const { look, until: otherUntil } = createWatch()
  other.on('state', look)
  await until(() => orders.state === 'live')
  await otherUntil(() => other.state === 'live')
  t.equal(more.state, 'live')
  t.equal(node.app.everwire.sessions().length, 1)
})

t.test('writers that publish nothing are found by the audit', async (t) => {
  const node = await startOrders(t)
  const { orders, until } = start(t, node.url, { auditMs: 100 })
  await until(() => orders.state === 'live')
  await node.answered(({ status }) => status === 304)
  await node.write({ n: 1 }, { silent: true })
  await until(() => orders.data?.n === 1)
  await node.write({ n: 2 })
  await until(() => orders.data?.n === 2)
  t.equal(orders.state, 'live')
})

const ways: [how: string, options: PollingOptions][] = [
  ['a token that headers ask for', { headers: async () => ({ Authorization: 'Bearer secret' }) }],
  ['a token in headers', { headers: { authorization: 'Bearer secret' } }],
  [
    'a cookie',
    {
      fetch: ((input, init) => {
        const headers = new Headers(init?.headers)
        headers.set('cookie', 'sid=secret')
        return fetch(input, { ...init, headers })
      }) as typeof fetch,
    },
  ],
]
for (const [how, options] of ways)
  t.test(`connects as it polls, with ${how}`, async (t) => {
    const users: unknown[] = []
    const allow = ({ authorization, cookie }: { authorization?: string; cookie?: string }) =>
      authorization === 'Bearer secret' || cookie === 'sid=secret'
    const node = await startOrders(t, {
      allow: ({ headers }) => allow(headers),
      authenticate: ({ token, request }) => {
        users.push(token)
        return token === 'secret' || allow((request as FastifyRequest).headers) ? { userId: 'ann' } : null
      },
    })
    const { orders, until } = start(t, node.url, options)
    await until(() => orders.state === 'live')
    t.ok(users.length > 0)
    const stranger = start(t, node.url)
    await stranger.until(() => stranger.errors.length > 1)
    t.strictSame(stranger.errors.slice(0, 2), ['unauthorized', 'unauthorized'])
    t.equal(stranger.orders.state, 'stale')
  })

t.test('refused the channel, it polls on', async (t) => {
  const node = await startOrders(t, { authenticate: () => null })
  const { orders, polling, until } = start(t, node.url)
  const { look, until: untilRefused } = createWatch()
  const refused: string[] = []
  orders.on('refused', ({ code }) => {
    refused.push(code)
    look()
  })
  await untilRefused(() => refused.length > 0)
  await node.write({ n: 1 })
  await until(() => orders.data?.n === 1)
  t.strictSame(refused, ['unauthorized'])
  t.equal(orders.state, 'polling')
  polling.close()
})

t.test('operators switch it off, and on again', async (t) => {
  let isAnnounced = true
  const node = await startOrders(t, { announced: () => isAnnounced })
  const { orders, until } = start(t, node.url)
  await until(() => orders.state === 'live')
  isAnnounced = false
  await node.app.everwire.publish(controlChannel, 'set', { mode: 'polling' })
  await until(() => orders.state === 'polling')
  await node.write({ n: 1 })
  await until(() => orders.data?.n === 1)
  t.equal(orders.state, 'polling')
  isAnnounced = true
  await node.app.everwire.publish(controlChannel, 'set', { mode: 'live' })
  await until(() => orders.state === 'live')
})

t.test('a channel that the application reads itself goes on after the poll is closed', async (t) => {
  const node = await startOrders(t)
  const client = createClient({ url: new URL('/everwire', node.url).href })
  t.teardown(() => client.close())
  const heard: unknown[] = []
  client.channel(channel).on('snapshot', (data) => heard.push(data))
  await client.channel(channel).subscribe()
  const { orders, polling, until } = start(t, node.url, { client })
  await until(() => orders.state === 'live')
  await node.write({ n: 1 })
  await until(() => orders.data?.n === 1)
  polling.close()
  t.ok(client.channel(channel).subscribed)
  t.equal(client.state, 'connected')
  t.match(heard, [{ to: revisionOf({ n: 1 }) }])
})
