import { EverwireError, type Bus } from '@everwire/core'
import { memoryBus } from '@everwire/server'
import fc from 'fast-check'
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { readLink } from '../src/announcement.js'
import { applyPatch } from '../src/apply-patch.js'
import { httpSource, type PollingBridgeOptions } from '../src/server.js'
import { patchBetween } from '../src/server/patch.js'
import { digest } from '../src/server/revision.js'
import { createNode, sharedBus, startNode, until, type NodeOptions } from './server-app.js'

type Row = { id: number; n: number; note?: string }
const manyRows = (): Row[] => Array.from({ length: 20 }, (_, id) => ({ id, n: 0 }))
const nameOf = (data: unknown) => digest(JSON.stringify(data))

/** A resource that the test writes, and what is published of it. */
async function start(
  t: Test,
  { poll, ...options }: { poll?: object; bridge?: PollingBridgeOptions } & Partial<NodeOptions> = {},
) {
  const table = { rows: manyRows(), reads: 0, fails: false }
  const node = await startNode(t, {
    routes: (app) =>
      void app.get(
        '/orders',
        { config: { poll: { channel: 'orders:all', watchMs: false, ...poll } } },
        async () => {
          table.reads++
          if (table.fails) throw new Error('the database is away')
          return table.rows
        },
      ),
    ...options,
  })
  const published = async (channel = 'orders:all') =>
    (await node.app.everwire.history(channel)).publications.map(({ event, data }) => ({ event, data }))
  return { ...node, table, published }
}

t.test(
  'changed publishes what became of the resource: first the whole, then what is different',
  async (t) => {
    const { app, table, published } = await start(t)
    const before = nameOf(table.rows)
    await app.pollingBridge.changed('orders:all')
    t.strictSame(await published(), [
      { event: 'snapshot', data: { from: null, to: before, data: manyRows() } },
    ])
    await app.pollingBridge.changed('orders:all')
    t.equal((await published()).length, 1, 'nothing has changed')
    table.rows[3]!.n = 7
    table.rows.unshift(table.rows.pop()!)
    await app.pollingBridge.changed('orders:all')
    const [, second] = await published()
    t.match(second, { event: 'patch', data: { from: before, to: nameOf(table.rows) } })
    const { patch } = second!.data as { patch: never[] }
    t.strictSame(applyPatch(manyRows(), patch), table.rows)
    t.equal(table.reads, 3)
  },
)

t.test(
  'an answer says the position of the publication that made its state, else the one known before',
  async (t) => {
    const { app, table } = await start(t)
    const linkOf = async () => readLink((await app.inject('/orders')).headers.link as string)!
    const at = (await linkOf()).position
    await app.pollingBridge.changed('orders:all')
    const { publications } = await app.everwire.history('orders:all')
    const first = publications[0]!.position!
    t.strictSame((await linkOf()).position, first)
    t.ok(at.offset < first.offset)
    // A position that is known, of a state that is not the body's.
    table.rows[0]!.n = 1
    const next = await app.everwire.publish('orders:all', 'snapshot', { from: null, to: 'another', data: 1 })
    const link = await linkOf()
    t.strictSame(link.position, next)
    t.equal(link.revision, nameOf(table.rows))
  },
)

t.test('what is published while a handler runs comes after its answer, whatever it is', async (t) => {
  const runs: (() => void)[] = []
  const { app } = await startNode(t, {
    routes: (app) =>
      void app.get('/orders', { config: { poll: { channel: 'orders:all', watchMs: false } } }, async () => {
        await new Promise<void>((resolve) => runs.push(resolve))
        return []
      }),
  })
  const publish = async (to: string) =>
    await app.everwire.publish('orders:all', 'snapshot', { from: null, to, data: null })
  const pollDuring = async (to: string) => {
    const answer = app.inject('/orders')
    const { length } = runs
    await until(() => runs.length > length, 'the handler has begun')
    const during = await publish(to)
    runs.at(-1)!()
    return { during, position: readLink((await answer).headers.link as string)!.position }
  }
  const before = await publish('one')
  // It may hold what was written before that, and may not.
  const other = await pollDuring('two')
  t.strictSame(other.position, before)
  // That a state has the same name does not say that nothing came between it and the answer.
  t.strictSame((await pollDuring(nameOf([]))).position, other.during)
})

t.test('calls that come together are one read, but none joins a read that has begun', async (t) => {
  const go: (() => void)[] = []
  let value = 0
  const source = async () => {
    const seen = value
    await new Promise<void>((resolve) => go.push(resolve))
    return { value: seen }
  }
  const { app, published } = await start(t, { poll: { source } })
  const { changed } = app.pollingBridge
  value = 1
  const together = Promise.all([changed('orders:all'), changed('orders:all')])
  await until(() => go.length === 1, 'the read has begun')
  value = 2
  const later = Promise.all([changed('orders:all'), changed('orders:all'), changed('orders:all')])
  go[0]!()
  await together
  t.match((await published()).at(-1), { data: { data: { value: 1 } } })
  await until(() => go.length === 2, 'it is read again')
  go[1]!()
  await later
  const all = await published()
  t.match(all, [{}, { event: 'snapshot', data: { from: nameOf({ value: 1 }), data: { value: 2 } } }])
  t.equal(all.length, 2)
})

t.test('each publication follows on the one before, however late this node hears of it', async (t) => {
  const bus = memoryBus()
  const deaf: Bus = {
    ...bus,
    follow: (channel, history, listener) => bus.follow(channel, history, { ...listener, publication() {} }),
  }
  const { app, published } = await start(t, { bus: deaf })
  await app.pollingBridge.snapshot('orders:all', [1])
  await app.pollingBridge.snapshot('orders:all', [2])
  t.match(await published(), [{ data: { from: null } }, { data: { from: nameOf([1]), to: nameOf([2]) } }])
})

t.test('what is too large is told, and clients ask', async (t) => {
  const { app, table, published } = await start(t, { bridge: { snapshotBytes: 2_000 } })
  table.rows = Array.from({ length: 200 }, (_, id) => ({ id, n: 0 }))
  await app.pollingBridge.changed('orders:all')
  table.rows[100]!.n = 1
  await app.pollingBridge.changed('orders:all')
  table.rows.forEach((row) => (row.note = 'all of them are different'))
  await app.pollingBridge.changed('orders:all')
  await app.pollingBridge.snapshot('orders:all', table.rows)
  const patch = [{ op: 'add' as const, path: '/0/note', value: 'x'.repeat(5_000) }]
  await app.pollingBridge.patch('orders:all', patch, { from: 'a', to: 'b' })
  t.match(await published(), [
    { event: 'invalidate' },
    { event: 'patch' },
    { event: 'invalidate', data: { to: nameOf(table.rows) } },
    { event: 'invalidate' },
    { event: 'invalidate', data: { to: 'b' } },
  ])
})

t.test('publishes without reading what the application says', async (t) => {
  const { app, table, published } = await start(t)
  await app.pollingBridge.snapshot('orders:all', [{ id: 1 }])
  await app.pollingBridge.patch('orders:all', [{ op: 'remove', path: '/0' }], { from: 'x', to: 'y' })
  await app.pollingBridge.invalidate('orders:all')
  await app.pollingBridge.snapshot('orders:all', [], { revision: 9 })
  t.strictSame(await published(), [
    { event: 'snapshot', data: { from: null, to: nameOf([{ id: 1 }]), data: [{ id: 1 }] } },
    { event: 'patch', data: { from: 'x', to: 'y', patch: [{ op: 'remove', path: '/0' }] } },
    { event: 'invalidate', data: { to: null } },
    { event: 'snapshot', data: { from: null, to: 9, data: [] } },
  ])
  t.equal(table.reads, 0)
  t.throws(() => app.pollingBridge.snapshot('', []), /not the name of a resource's channel/)
  t.throws(() => app.pollingBridge.patch('orders:all', {} as never, { from: 1, to: 2 }), /patch must be/)
  t.throws(() => app.pollingBridge.patch('orders:all', [], { from: 1, to: '' }), /to must be/)
  t.throws(() => app.pollingBridge.snapshot('orders:all', 1, { revision: -1 }), /revision must be/)
  t.throws(() => app.pollingBridge.set({ mode: 'on' as never }), /mode must be/)
  await t.rejects(app.pollingBridge.snapshot('orders:all', undefined), /JSON value/)
  await t.rejects(app.pollingBridge.snapshot('unruled:1', 1), { code: 'unknown-channel' })
})

t.test('a revision that rises names states, in answers and publications', async (t) => {
  const poll = { revision: (data: unknown) => (data as Row[])[0]!.n }
  const { app, table, published } = await start(t, { poll })
  table.rows[0]!.n = 4
  await app.pollingBridge.changed('orders:all')
  await app.pollingBridge.snapshot('orders:all', [{ n: 5 }])
  t.match(await published(), [{ data: { to: 4 } }, { data: { from: 4, to: 5 } }])
  t.equal(readLink((await app.inject('/orders')).headers.link as string)!.revision, 4)
})

t.test('a revision that fails costs no poll, and is told', async (t) => {
  const { app, logs } = await start(t, { poll: { revision: () => 1.5 } })
  const answer = await app.inject('/orders')
  t.match([answer.statusCode, answer.headers.etag], [200, undefined])
  const told = logs.find(({ msg }) => msg.startsWith('polling-bridge'))
  t.match(told, { msg: 'polling-bridge: revision failed', err: { message: /whole number/ } })
})

t.test('the state of another node’s publication is where the next one begins', async (t) => {
  const bus = sharedBus(t)
  const one = await start(t, { bus })
  const two = await start(t, { bus })
  await one.app.pollingBridge.changed('orders:all')
  // What this node has read it need not be told; then it follows what the other publishes.
  await two.app.pollingBridge.changed('orders:all')
  one.table.rows[1]!.n = two.table.rows[1]!.n = 1
  await one.app.pollingBridge.changed('orders:all')
  two.table.rows[2]!.n = 1
  await two.app.pollingBridge.changed('orders:all')
  const all = await one.published()
  t.match(all, [
    { event: 'snapshot' },
    { event: 'patch', data: { to: nameOf(one.table.rows) } },
    {
      event: 'patch',
      data: {
        from: nameOf(one.table.rows),
        to: nameOf(two.table.rows),
        patch: [{ op: 'replace', path: '/2/n', value: 1 }],
      },
    },
  ])
  t.equal(all.length, 3)
})

t.test('changed never rejects: a source that fails is told, and clients ask', async (t) => {
  const { app, table, published } = await start(t)
  table.fails = true
  await app.pollingBridge.changed('orders:all')
  await app.pollingBridge.changed('orders:unread')
  await app.pollingBridge.changed('unruled:1')
  await app.pollingBridge.changed(undefined as never)
  t.strictSame(await published(), [{ event: 'invalidate', data: { to: null } }])
  t.strictSame(await published('orders:unread'), [{ event: 'invalidate', data: { to: null } }])
})

t.test('a source that hangs is given up, and not asked without end', async (t) => {
  let reads = 0
  const aborted: boolean[] = []
  const source = ({ signal }: { signal?: AbortSignal }) => {
    reads++
    signal!.addEventListener('abort', () => aborted.push(true))
    return new Promise<never>(() => {})
  }
  const { app, clock, published } = await start(t, { poll: { source } })
  for (let time = 0; time < 3; time++) {
    const done = app.pollingBridge.changed('orders:all')
    await clock.advance(10_000)
    await done
  }
  t.match([reads, aborted.length], [2, 2])
  t.equal((await published()).length, 3)
})

/** A bus that can go away: then it rejects, or does not answer. */
function fickle() {
  const bus = memoryBus()
  const state = { is: 'there' as 'there' | 'rejects' | 'hangs' }
  const through =
    <Args extends unknown[], Result>(call: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      if (state.is === 'rejects') throw new EverwireError('temporary', 'the bus is away')
      if (state.is === 'hangs') return await new Promise<never>(() => {})
      return await call(...args)
    }
  const flaky: Bus = {
    ...bus,
    store: through(bus.store),
    follow: through(bus.follow),
    read: through(bus.read),
    broadcast: through(bus.broadcast),
    listen: through(bus.listen),
  }
  return { bus: flaky, state }
}

t.test('while the bus is away changed is tried again, with the state as it is then', async (t) => {
  const { bus, state } = fickle()
  const { app, clock, table, published } = await start(t, { bus })
  state.is = 'rejects'
  void app.pollingBridge.changed('orders:all')
  for (let second = 0; second < 60; second++) {
    await clock.advance(1_000)
    if (second % 10 === 0) void app.pollingBridge.changed('orders:all')
  }
  table.rows[0]!.n = 5
  state.is = 'there'
  const late = app.pollingBridge.changed('orders:all')
  await clock.advance(25_000)
  await late
  for (let turn = 0; turn < 50; turn++) await clock.settle()
  t.match(await published(), [{ event: 'snapshot', data: { to: nameOf(table.rows) } }])
  t.equal((await published()).length, 1)
})

t.test('the bus being away fails no poll, and holds none up for longer than announceWaitMs', async (t) => {
  const { bus, state } = fickle()
  const { app, clock } = await start(t, { bus })
  state.is = 'hangs'
  let answer: { statusCode: number; headers: Record<string, unknown> } | undefined
  // The channel is used for the first time here.
  const waiting = app.inject('/orders').then((given) => (answer = given))
  await clock.advance(99)
  // As many turns as an answer may take.
  for (let turn = 0; turn < 50; turn++) await clock.settle()
  t.notOk(answer)
  await clock.advance(1)
  await waiting
  t.match([answer!.statusCode, answer!.headers.link, typeof answer!.headers.etag], [200, undefined, 'string'])
  // Whoever comes later does not wait at all.
  t.equal((await app.inject('/orders')).headers.link, undefined)
})

t.test('a bus that comes back is announced again', async (t) => {
  const { bus, state } = fickle()
  const { app, clock } = await start(t, { bus })
  state.is = 'rejects'
  t.equal((await app.inject('/orders')).headers.link, undefined)
  state.is = 'there'
  await clock.advance(1_000)
  t.ok((await app.inject('/orders')).headers.link)
})

t.test('channels that are followed are bounded, and let go when nobody asks', async (t) => {
  const followed = new Set<string>()
  const bus = memoryBus()
  const { app, clock } = await startNode(t, {
    bus: {
      ...bus,
      async follow(channel, history, listener) {
        const stop = await bus.follow(channel, history, listener)
        if (channel.startsWith('orders:')) followed.add(channel)
        return () => {
          followed.delete(channel)
          stop()
        }
      },
    },
    bridge: { maxChannels: 3, idleMs: 1_000 },
    routes: (app) =>
      void app.get(
        '/orders/:id',
        { config: { poll: { channel: (request) => `orders:${(request.params as { id: string }).id}` } } },
        async () => ({}),
      ),
  })
  const isAnnounced = async (id: number) => (await app.inject(`/orders/${id}`)).headers.link !== undefined
  for (const id of [1, 2, 3, 1]) t.ok(await isAnnounced(id))
  // Whoever was told of another is about to subscribe: this one polls.
  t.notOk(await isAnnounced(4))
  t.equal(followed.size, 3)
  await clock.advance(11_000)
  t.equal(followed.size, 0)
  for (const id of [4, 1, 3]) t.ok(await isAnnounced(id), String(id))
  t.notOk(await isAnnounced(2), 'it was polled longest ago, and made room')
})

t.test('a closed node leaves nothing running', async (t) => {
  for (const away of [false, true]) {
    const { bus, state } = fickle()
    const { app, clock, table } = await start(t, { bus, poll: { watchMs: 100, signal: () => () => {} } })
    await app.inject('/orders')
    table.fails = true
    if (away) state.is = 'rejects'
    const done = app.pollingBridge.changed('orders:all')
    await clock.advance(300)
    await app.close()
    await done
    await app.pollingBridge.changed('orders:all')
    t.equal(clock.pending, 0)
  }
})

t.test('httpSource asks an old system, conditionally', async (t) => {
  const asked: unknown[] = []
  let answer = () => new Response('{ "a": 1 }', { headers: { etag: '"1"' } })
  const fetcher = (async (url: string, { headers }: { headers: Record<string, string> }) => {
    asked.push([url, headers['if-none-match'], headers.authorization])
    return answer()
  }) as unknown as typeof fetch
  const source = httpSource((channel) => `https://old.example/${channel}`, {
    headers: { authorization: 'x' },
    fetch: fetcher,
  })
  t.strictSame(await source({ channel: 'a' }), { a: 1 })
  answer = () => new Response(null, { status: 304 })
  t.strictSame(await source({ channel: 'a' }), { a: 1 })
  answer = () => new Response('', { status: 500 })
  await t.rejects(async () => void (await source({ channel: 'b' })), { code: 'temporary' })
  t.strictSame(asked, [
    ['https://old.example/a', undefined, 'x'],
    ['https://old.example/a', '"1"', 'x'],
    ['https://old.example/b', undefined, 'x'],
  ])
  t.throws(() => httpSource('/orders'), /url must be absolute/)

  const { app, published } = await start(t, {
    poll: { source: httpSource('https://old.example/', { fetch: fetcher }) },
  })
  answer = () => new Response('{ "a": 2 }')
  await app.pollingBridge.changed('orders:all')
  t.match(await published(), [{ data: { to: nameOf({ a: 2 }), data: { a: 2 } } }])
})

t.test('a route that needs credentials gets those of the source', async (t) => {
  const { app, published } = await start(t, {
    bridge: { sourceHeaders: (channel) => ({ authorization: `internal ${channel}` }) },
    plugins: (app) =>
      void app.addHook('onRequest', async (request, reply) => {
        if (request.url === '/orders' && request.headers.authorization !== 'internal orders:all')
          return await reply.code(401).send()
      }),
  })
  await app.pollingBridge.changed('orders:all')
  t.match(await published(), [{ event: 'snapshot' }])
})

t.test('what the response schema hides is not published', async (t) => {
  const { app } = await createNode(t, {
    routes: (app) =>
      void app.get(
        '/orders',
        {
          config: { poll: { channel: 'orders:all' } },
          schema: { response: { 200: { type: 'object', properties: { shown: { type: 'number' } } } } },
        },
        async () => ({ shown: 1, hidden: 2 }),
      ),
  })
  await app.pollingBridge.changed('orders:all')
  const { publications } = await app.everwire.history('orders:all')
  t.match(publications, [{ data: { data: { shown: 1 } } }])
  t.strictSame((publications[0]!.data as { data: unknown }).data, { shown: 1 })
})

t.test('counts what it does', async (t) => {
  const { app, table } = await start(t)
  const { headers } = await app.inject('/orders')
  await app.inject({ url: '/orders', headers: { 'if-none-match': headers.etag as string } })
  await app.pollingBridge.changed('orders:all')
  await app.pollingBridge.changed('orders:all')
  table.fails = true
  await app.pollingBridge.changed('orders:all')
  const text = await app.everwire.metrics.metrics()
  for (const line of [
    'everwire_bridge_polls_total{mode="live",result="full"} 1',
    'everwire_bridge_polls_total{mode="live",result="not-modified"} 1',
    'everwire_bridge_publications_total{event="snapshot"} 1',
    'everwire_bridge_publications_total{event="invalidate"} 1',
    'everwire_bridge_reads_total{result="changed"} 1',
    'everwire_bridge_reads_total{result="same"} 1',
    'everwire_bridge_failures_total{what="read"} 1',
  ])
    t.ok(text.includes(line), line)
})

const plain = <T>(value: T) => JSON.parse(JSON.stringify(value)) as T
const json = fc.jsonValue({ maxDepth: 3 }).map(plain)
const table = fc.uniqueArray(
  fc.record({
    id: fc.integer({ min: 0, max: 12 }),
    n: fc.integer({ max: 3 }),
    tags: fc.array(fc.string(), { maxLength: 3 }),
  }),
  { selector: ({ id }) => id, maxLength: 12 },
)
const duplicates = fc.array(fc.record({ id: fc.integer({ min: 0, max: 3 }), n: fc.integer({ max: 3 }) }), {
  maxLength: 6,
})
const odd = fc.dictionary(fc.constantFrom('a', 'a/b', '~', '~1', '', 'constructor', 'length', '0'), fc.nat(3))

t.test('a patch makes of one state the other, or there is none', async (t) => {
  let found = 0
  const check = (one: unknown, other: unknown) => {
    const [before, after] = [plain(one), plain(other)]
    const frozen = JSON.stringify(before)
    const patch = patchBetween(before, after)
    if (!patch) return
    found++
    // As it comes to the client.
    const result = applyPatch(before, JSON.parse(JSON.stringify(patch)) as never)
    if (!isDeepStrictEqual(result, after)) throw new Error('another state')
    if (JSON.stringify(before) !== frozen) throw new Error('the input was changed')
  }
  fc.assert(fc.property(json, json, check))
  fc.assert(fc.property(duplicates, duplicates, check))
  fc.assert(fc.property(odd, odd, check))
  found = 0
  fc.assert(fc.property(table, table, check), { numRuns: 500 })
  t.equal(found, 500, 'tables always have one')
  fc.assert(fc.property(fc.record({ rows: table }), fc.record({ rows: table }), check))
})

t.test('arrays of which all is different are not compared for ever', async (t) => {
  const rows = (from: number) => Array.from({ length: 5_000 }, (_, index) => ({ id: from + index }))
  t.equal(patchBetween(rows(0), rows(10_000)), undefined)
  t.ok(
    patchBetween(
      rows(0),
      rows(0).map((row) => (row.id === 7 ? { id: 7, n: 1 } : row)),
    ),
  )
  t.equal(patchBetween([1], { a: 1 }), undefined)
})
