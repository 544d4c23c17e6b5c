import type { Clock } from '@everwire/core'
import { createFakeClock } from '@everwire/testkit'
import { everwire } from 'everwire/server'
import Fastify, { type FastifyInstance } from 'fastify'
import { AsyncLocalStorage } from 'node:async_hooks'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { pollingBridge } from '../src/server.js'
import { createNode, sharedBus, startNode, until } from './server-app.js'

// What careless applications, and clients that mean harm, have tried.

async function subscribe(app: FastifyInstance, channel: string) {
  if (!app.server.listening) await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const path = `/everwire/channels/${encodeURIComponent(channel)}?live=sse&offset=now`
  const request = httpRequest({ host: '127.0.0.1', port, path }).on('error', () => {})
  request.end()
  await until(() => app.everwire.subscribers(channel) === 1, 'it has a subscriber')
  return request
}
const patient = (clock: ReturnType<typeof createFakeClock>) => async (ms: number) => {
  for (let left = ms; left > 0; left -= 50) {
    await clock.advance(Math.min(left, 50))
    for (let turn = 0; turn < 20; turn++) await clock.settle()
  }
}
const newest = async (app: FastifyInstance, channel: string) =>
  (await app.everwire.history(channel, { limit: 1 })).publications.at(-1)?.data as
    { data?: unknown } | undefined

t.test('a handler that answers 304 itself: a neighbour without the condition gets the answer', async (t) => {
  const { app } = await startNode(t, {
    routes: (app) =>
      void app.get(
        '/orders',
        { config: { poll: { channel: 'orders:all', shared: true } } },
        async (request, reply) => {
          reply.header('etag', '"v1"')
          if (request.headers['if-none-match'] === '"v1"') return await reply.code(304).send()
          return { n: 1 }
        },
      ),
  })
  await app.inject('/orders')
  const [a, b] = await Promise.all([
    app.inject({ url: '/orders', headers: { 'if-none-match': '"v1"' } }),
    app.inject({ url: '/orders' }),
  ])
  t.equal(a.statusCode, 304)
  t.equal(b.statusCode, 200, 'neighbour')
  t.equal(b.body, '{"n":1}')
})

t.test('the same with a condition of time, and no option at all', async (t) => {
  const { app } = await startNode(t, {
    routes: (app) =>
      void app.get('/orders', { config: { poll: { channel: 'orders:all' } } }, async (request, reply) => {
        reply.header('last-modified', 'Mon, 01 Jan 2024 00:00:00 GMT')
        if (request.headers['if-modified-since']) return await reply.code(304).send()
        return { n: 1 }
      }),
  })
  await app.inject('/orders')
  const [, b] = await Promise.all([
    app.inject({ url: '/orders', headers: { 'if-modified-since': 'Mon, 01 Jan 2024 00:00:00 GMT' } }),
    app.inject({ url: '/orders' }),
  ])
  t.equal(b.statusCode, 200, 'neighbour')
})

t.test('a part is for who asked for it', async (t) => {
  const { app } = await startNode(t, {
    routes: (app) =>
      void app.get(
        '/orders',
        { config: { poll: { channel: 'orders:all', shared: true } } },
        async (request, reply) => {
          if (request.headers.range)
            return await reply.code(206).header('content-range', 'bytes 0-1/7').send('{"')
          return { n: 1 }
        },
      ),
  })
  await app.inject('/orders')
  const [, b] = await Promise.all([
    app.inject({ url: '/orders', headers: { range: 'bytes=0-1' } }),
    app.inject({ url: '/orders' }),
  ])
  t.equal(b.statusCode, 200)
  t.equal(b.body, '{"n":1}')
})

t.test('`user` that throws fails no poll', async (t) => {
  const { app } = await startNode(t, {
    bridge: { user: (request) => (request as never as { user: { id: string } }).user.id },
    routes: (app) =>
      void app.get('/orders', { config: { poll: { channel: 'orders:all' } } }, async () => ({ n: 1 })),
  })
  t.equal((await app.inject('/orders')).statusCode, 200)
})

t.test('`user` that gives a number: switching a roll-out on fails no poll', async (t) => {
  const { app } = await startNode(t, {
    bridge: { user: () => 7 as never },
    routes: (app) =>
      void app.get('/orders', { config: { poll: { channel: 'orders:all' } } }, async () => ({ n: 1 })),
  })
  t.equal((await app.inject('/orders')).statusCode, 200)
  await app.pollingBridge.set({ rollout: 25 })
  t.equal((await app.inject('/orders')).statusCode, 200)
})

t.test('`user` that gives an object, or a promise: nobody gets what is another’s', async (t) => {
  for (const wrap of [(name: unknown) => ({ name }), async (name: unknown) => name]) {
    const { app } = await startNode(t, {
      bridge: { user: (request) => wrap(request.headers['x-user']) as never },
      routes: (app) =>
        void app.get('/orders', { config: { poll: { channel: 'orders:all' } } }, async (request) => ({
          secretOf: request.headers['x-user'],
        })),
    })
    await app.inject('/orders')
    const [, bob] = await Promise.all(
      ['ann', 'bob'].map((user) => app.inject({ url: '/orders', headers: { 'x-user': user } })),
    )
    t.equal(bob!.json().secretOf, 'bob')
  }
})

t.test('a number as revision is no tag: nobody gets 304 for what another one has', async (t) => {
  const { app } = await startNode(t, {
    bridge: { user: (request) => request.headers['x-user'] as string },
    routes: (app) =>
      void app.get(
        '/inbox',
        {
          config: {
            poll: {
              channel: (request) => `orders:${request.headers['x-user']}`,
              revision: (data) => (data as { version: number }).version,
            },
          },
        },
        async (request) => ({ version: 5, letters: [`for ${request.headers['x-user']}`] }),
      ),
  })
  const ann = await app.inject({ url: '/inbox', headers: { 'x-user': 'ann' } })
  const bob = await app.inject({
    url: '/inbox',
    headers: { 'x-user': 'bob', 'if-none-match': String(ann.headers.etag) },
  })
  t.equal(bob.statusCode, 200)
})

t.test('a revision with half a surrogate pair fails no poll', async (t) => {
  const { app } = await startNode(t, {
    routes: (app) =>
      void app.get(
        '/orders',
        { config: { poll: { channel: 'orders:all', revision: (data) => (data as { name: string }).name } } },
        async () => ({ name: 'party \ud83d' }),
      ),
  })
  const answer = await Promise.race([
    app.inject('/orders').catch((error: Error) => ({ statusCode: `rejected ${error.message}` })),
    new Promise<{ statusCode: string }>((resolve) =>
      setTimeout(() => resolve({ statusCode: 'hangs' }), 2000),
    ),
  ])
  t.equal(answer.statusCode, 200)
})

t.test('what an application keeps in AsyncLocalStorage is of the handler’s own request', async (t) => {
  const storage = new AsyncLocalStorage<{ tenant: string | undefined; id: string }>()
  const wrongs: string[] = []
  const { app } = await startNode(t, {
    plugins: (app) => {
      app.addHook('onRequest', (request, _reply, done) =>
        storage.run({ tenant: request.headers['x-tenant'] as string, id: request.id }, done),
      )
    },
    routes: (app) =>
      void app.get(
        '/orders',
        { config: { poll: { channel: 'orders:all', shared: true } } },
        async (request, reply) => {
          reply.header('vary', 'x-tenant')
          if (storage.getStore()?.id !== request.id) wrongs.push(`${request.id} in ${storage.getStore()?.id}`)
          return { secretOf: storage.getStore()?.tenant }
        },
      ),
  })
  const [a, b] = await Promise.all(
    ['one', 'two'].map((tenant) => app.inject({ url: '/orders', headers: { 'x-tenant': tenant } })),
  )
  t.equal(a!.json().secretOf, 'one')
  t.equal(b!.json().secretOf, 'two', 'tenant two')
  t.strictSame(wrongs, [])
})

t.test('and so it is for one that had to wait', async (t) => {
  const storage = new AsyncLocalStorage<string>()
  const wrongs: string[] = []
  const { app } = await startNode(t, {
    plugins: (app) => {
      app.addHook('onRequest', (request, _reply, done) => storage.run(request.id, done))
    },
    routes: (app) =>
      void app.get('/orders', { config: { poll: { channel: 'orders:all' } } }, async (request) => {
        if (storage.getStore() !== request.id) wrongs.push(`${request.id} in ${storage.getStore()}`)
        await new Promise((resolve) => setTimeout(resolve, 30))
        return { n: 1 }
      }),
  })
  await app.inject('/orders')
  const first = app.inject('/orders')
  await new Promise((resolve) => setTimeout(resolve, 10))
  await Promise.all([first, app.inject('/orders')])
  t.strictSame(wrongs, [])
})

t.test('changes of more channels than are followed at a time are published all the same', async (t) => {
  const { app } = await startNode(t, {
    routes: (app) =>
      void app.get('/orders', { config: { poll: { channel: 'orders:all', watchMs: false } } }, async () => ({
        n: 1,
      })),
  })
  await Promise.all(Array.from({ length: 1500 }, (_, n) => app.pollingBridge.changed(`orders:${n}`)))
  let published = 0
  for (let n = 0; n < 1500; n++)
    if ((await app.everwire.history(`orders:${n}`, { limit: 1 })).publications.length) published++
  t.equal(published, 1500)
})

t.test('a setting that is none does not undo the last one, for nodes that start later either', async (t) => {
  const clock = createFakeClock()
  const bus = sharedBus(t, clock)
  const routes = (app: never) =>
    void (app as import('fastify').FastifyInstance).get(
      '/orders',
      { config: { poll: { channel: 'orders:all' } } },
      async () => ({ n: 1 }),
    )
  const one = await startNode(t, { bus, clock, routes: routes as never })
  await one.app.pollingBridge.set({ mode: 'polling' })
  const answer = await one.app.inject({
    method: 'POST',
    url: '/everwire/channels/polling-bridge:control?event=set',
    headers: {
      authorization: 'Bearer server-key-for-tests-0123456789abcdef',
      'content-type': 'application/json',
    },
    payload: '{"mode":"poling"}',
  })
  t.equal(answer.statusCode, 200)
  const two = await startNode(t, { bus, clock, routes: routes as never })
  t.equal(two.app.pollingBridge.state().mode, one.app.pollingBridge.state().mode)
})

t.test('an answer that depends on very many headers is not shared', async (t) => {
  const names = Array.from({ length: 18 }, (_, n) => `x-h${n}`)
  const { app } = await startNode(t, {
    routes: (app) =>
      void app.get(
        '/orders',
        { config: { poll: { channel: 'orders:all', shared: true } } },
        async (request, reply) => {
          reply.header('vary', names.join(', '))
          return { of: request.headers['x-h17'] }
        },
      ),
  })
  const [, b] = await Promise.all(
    ['1', '2'].map((value) => app.inject({ url: '/orders', headers: { 'x-h17': value } })),
  )
  t.equal(b!.json().of, '2')
})

t.test('a channel that is none fails no poll, and announces nothing', async (t) => {
  for (const name of [
    undefined,
    7,
    '',
    '@me',
    'polling-bridge:control',
    'polling-bridge:nodes',
    'a\u0000b',
    'x'.repeat(9000),
    'orders:\ud800',
    '__proto__',
    {},
  ]) {
    const { app } = await startNode(t, {
      routes: (app) =>
        void app.get('/orders', { config: { poll: { channel: () => name as never } } }, async () => ({
          n: 1,
        })),
    })
    const a = await app
      .inject('/orders')
      .catch((e: Error) => ({ statusCode: e.message, headers: {} as Record<string, unknown> }))
    t.equal(a.statusCode, 200, String(name).slice(0, 20) + ' link ' + String(a.headers.link).slice(0, 60))
  }
})

t.test('a node with the bridge and without the routes has its subscribers told', async (t: Test) => {
  const clock = createFakeClock()
  const advance = patient(clock)
  const bus = sharedBus(t, clock as Clock)
  let value = 0
  const api = await startNode(t, {
    clock,
    bus,
    routes: (app) =>
      void app.get('/orders', { config: { poll: { channel: 'orders:all', shared: true } } }, async () => ({
        value,
      })),
  })
  const gateway = Fastify()
  t.teardown(() => gateway.close())
  await gateway.register(everwire, {
    authenticate: () => ({ userId: null }),
    streamMs: 3_600_000,
    bus,
    clock: clock as Clock,
  })
  gateway.everwire.channel('orders:*', { history: { size: 100 }, subscribe: true })
  await gateway.register(pollingBridge, { clock: clock as Clock })
  await gateway.ready()
  const { headers } = await api.app.inject('/orders')
  t.ok(headers.link)
  const request = await subscribe(gateway, 'orders:all')
  await advance(3_000)
  value = 1
  await advance(60_000)
  t.ok(await newest(api.app, 'orders:all'), 'the change was published')
  request.destroy()
})

t.test('nothing is read while the mode is off', async (t: Test) => {
  const clock = createFakeClock()
  const advance = patient(clock)
  let reads = 0
  const { app } = await startNode(t, {
    clock,
    bridge: { mode: 'off' },
    routes: (app) =>
      void app.get('/orders', { config: { poll: { channel: 'orders:all', shared: true } } }, async () => ({
        n: reads++,
      })),
  })
  const request = await subscribe(app, 'orders:all')
  await advance(3_000)
  t.equal(reads, 0, 'reads of the route while off')
  request.destroy()
})

t.test('who asks with a query does not decide what others get', async (t: Test) => {
  const { app } = await startNode(t, {
    routes: (app) =>
      void app.get(
        '/orders/:id',
        {
          config: {
            poll: { shared: true, channel: (request) => `orders:${(request.params as { id: string }).id}` },
          },
        },
        async (request) =>
          (request.query as { fields?: string }).fields
            ? { only: (request.query as { fields?: string }).fields }
            : { id: 1, all: true },
      ),
  })
  await app.inject('/orders/1')
  await app.inject('/orders/1?fields=HACKED')
  await app.pollingBridge.changed('orders:1')
  t.match(await newest(app, 'orders:1'), { data: { all: true } })
})

t.test('who asks for a thousand others does not end the watch of the first', async (t: Test) => {
  const clock = createFakeClock()
  const advance = patient(clock)
  let value = 0
  const { app } = await startNode(t, {
    clock,
    routes: (app) =>
      void app.get(
        '/orders/:id',
        {
          config: {
            poll: { shared: true, channel: (request) => `orders:${(request.params as { id: string }).id}` },
          },
        },
        async () => ({ value }),
      ),
  })
  await app.inject('/orders/mine')
  const request = await subscribe(app, 'orders:mine')
  await advance(1_000)
  t.equal(app.pollingBridge.state().watched.length, 1)
  for (let n = 0; n < 1001; n++) await app.inject(`/orders/${n}`)
  await advance(1_000)
  t.equal(app.pollingBridge.state().watched.length, 1, 'still watched')
  value = 7
  await advance(10_000)
  t.match(await newest(app, 'orders:mine'), { data: { value: 7 } })
  request.destroy()
})

t.test('two routes with one channel are refused', async (t) => {
  await t.rejects(
    createNode(t, {
      routes(app) {
        app.get('/v1/orders', { config: { poll: { channel: 'orders:all' } } }, async () => 1)
        app.get('/v2/orders', { config: { poll: { channel: 'orders:all' } } }, async () => 2)
      },
    }),
    /orders:all is the channel of \/v1\/orders/,
  )
})

t.test('a route with other answers for other languages has no one channel', async (t) => {
  const { app } = await startNode(t, {
    routes: (app) =>
      void app.get('/orders', { config: { poll: { channel: 'orders:all' } } }, async (_request, reply) =>
        reply.header('vary', 'accept-encoding, accept-language').send([]),
      ),
  })
  const { headers } = await app.inject('/orders')
  t.match([headers.etag, headers.link], [/^W/, undefined])
})

t.test('a writer waits a second at most for a bus that is away', async (t) => {
  const { app, clock } = await startNode(t, {
    routes: (app) =>
      void app.get(
        '/orders',
        { config: { poll: { channel: 'orders:all', watchMs: false } } },
        async () => [],
      ),
  })
  app.everwire.publish = () => new Promise(() => {})
  let done = false
  const waiting = app.pollingBridge.changed('orders:all').then(() => (done = true))
  await clock.advance(900)
  t.notOk(done)
  await clock.advance(100)
  await waiting
  t.ok(done)
})

t.test('the channels of the bridge itself are no resource’s', async (t) => {
  const { app } = await startNode(t, {
    routes: (app) =>
      void app.get(
        '/:kind/:id',
        {
          config: {
            poll: { channel: ({ params }) => Object.values(params as Record<string, string>).join(':') },
          },
        },
        async () => [],
      ),
  })
  const { statusCode, headers } = await app.inject('/polling-bridge/control')
  t.match([statusCode, headers.link], [200, undefined])
  await app.pollingBridge.changed('polling-bridge:control')
  t.throws(() => app.pollingBridge.invalidate('polling-bridge:control'), /not the name of a resource/)
  t.strictSame((await app.everwire.history('polling-bridge:control')).publications, [])
})
