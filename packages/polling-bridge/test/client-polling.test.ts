import t from 'tap'
import { createPolling } from '../src/client.js'
import { scriptedFetch, scriptedPage, url, world } from './scripted.js'

// What polls as setInterval and fetch did, with a clock that the test owns. Nothing announces a channel.

t.test('polls at once, then in the interval from start to start', async (t) => {
  const { clock, next, idle, start } = world(t)
  const { shown, orders } = start()
  t.equal(orders.state, 'polling')
  t.equal(orders.data, undefined)
  const first = next()
  t.equal(first.url, url)
  t.equal(first.init.cache, 'no-cache')
  await clock.advance(2_000)
  first.answer({ n: 1 })
  await clock.advance(2_999)
  t.ok(idle())
  await clock.advance(1)
  next().answer({ n: 2 })
  await clock.settle()
  t.strictSame(shown, [{ n: 1 }, { n: 2 }])
  t.strictSame(orders.data, { n: 2 })
})

t.test('is told of another body only, on condition where there is a tag', async (t) => {
  const { clock, next, start } = world(t)
  const { shown } = start()
  const ask = async () => {
    await clock.advance(5_000)
    return next()
  }
  next().answer({ n: 1 }, undefined, { etag: '"a"' })
  const second = await ask()
  t.equal(second.header('if-none-match'), '"a"')
  t.equal(second.init.cache, undefined)
  second.unchanged()
  ;(await ask()).answer({ n: 1 }, undefined, { etag: '"a"' })
  const other = await ask()
  other.answer({ n: 2 }, undefined, { etag: '' })
  const untagged = await ask()
  t.equal(untagged.header('if-none-match'), null)
  untagged.answer({ n: 2 }, undefined, { etag: '' })
  ;(await ask()).answer({ n: 3 }, undefined, { etag: '' })
  await clock.settle()
  t.strictSame(shown, [{ n: 1 }, { n: 2 }, { n: 3 }])
})

t.test(
  'of another origin the browser asks on condition, so that it need not ask for permission',
  async (t) => {
    const { clock, next, start } = world(t, { page: scriptedPage('https://www.example/').page })
    start()
    next().answer({ n: 1 })
    await clock.advance(5_000)
    const { init, header } = next()
    t.equal(init.cache, 'no-cache')
    t.strictSame([...new Headers(init.headers)], [])
    t.equal(header('if-none-match'), null)
  },
)

t.test('headers, mode and what fetch is given', async (t) => {
  let token = 'one'
  const headers = async () => ({ authorization: `Bearer ${token}`, 'x-app': '1' })
  const { clock, next, start } = world(t, { headers, mode: 'polling' })
  start({ init: { credentials: 'include', headers: { 'x-app': '2' } } })
  await clock.settle()
  const first = next()
  t.equal(first.header('authorization'), 'Bearer one')
  t.equal(first.header('everwire-mode'), 'polling')
  t.equal(first.header('x-app'), '2')
  t.equal(first.init.credentials, 'include')
  first.answer(1)
  token = 'two'
  await clock.advance(5_000)
  t.equal(next().header('authorization'), 'Bearer two')
})

t.test('polls of one key share timer, request and state; the smallest interval counts', async (t) => {
  const { clock, next, idle, start, asked } = world(t)
  const slow = start({ intervalMs: 10_000 })
  const fast = start({ intervalMs: 2_000, url: 'https://app.example/api/../api/orders' })
  next().answer(1)
  await clock.settle()
  t.strictSame([slow.shown, fast.shown], [[1], [1]])
  await clock.advance(2_000)
  next().answer(2)
  await clock.settle()
  t.strictSame(
    [slow.shown, fast.shown],
    [
      [1, 2],
      [1, 2],
    ],
  )
  const late = start({ intervalMs: 10_000 })
  t.strictSame(late.shown, [])
  await Promise.resolve()
  t.strictSame(late.shown, [2], 'what is known comes at once')
  fast.orders.close()
  fast.orders.close()
  await clock.advance(2_000)
  next().answer(3)
  await clock.advance(9_999)
  t.ok(idle())
  await clock.advance(1)
  next().answer(3)
  t.strictSame(fast.shown, [1, 2])
  late.orders.close()
  slow.orders.close()
  const again = start({ key: 'mine' })
  start({ key: 'other' })
  t.equal(asked.length, 6, 'keys of their own')
  t.equal(again.orders.data, undefined)
  t.throws(() => start({ intervalMs: 0 }), /intervalMs must be/)
})

t.test('a hidden page does not poll; shown again it polls at once if the data is old', async (t) => {
  const { clock, next, idle, start, page } = world(t)
  const { orders } = start()
  next().answer(1)
  await clock.settle()
  page.show(false)
  await clock.advance(3_000)
  page.show(true)
  await clock.advance(0)
  t.ok(idle())
  page.show(false)
  await clock.advance(60_000)
  t.ok(idle())
  t.equal(orders.state, 'stale')
  page.show(true)
  await clock.advance(0)
  next().answer(2)
  await clock.settle()
  t.equal(orders.state, 'polling')
  await clock.advance(5_000)
  next()
})

t.test('failures are told, and the next try waits longer each time', async (t) => {
  const { clock, next, idle, start } = world(t)
  const { orders, errors, events, shown } = start()
  const fails = [
    () => next().fail(new TypeError('no network')),
    () => next().status(500),
    () => next().status(401),
    () => next().status(403),
    () => next().respond(new Response('<html>')),
    () => next(),
  ]
  for (const [at, waitMs] of [5_000, 10_000, 20_000, 40_000, 50_000, 50_000].entries()) {
    fails[at]!()
    if (at === 5) await clock.advance(10_000)
    await clock.settle()
    t.equal(orders.failures, at + 1)
    await clock.advance(waitMs - 1)
    t.ok(idle(), `${waitMs}`)
    await clock.advance(1)
  }
  t.strictSame(errors, ['link-lost', 'internal', 'unauthorized', 'forbidden', 'bad-payload', 'timeout'])
  t.strictSame(events, ['stale'])
  next().answer(1)
  await clock.settle()
  t.equal(orders.failures, 0)
  t.strictSame(events, ['stale', 'polling'])
  t.strictSame(shown, [1])
  await clock.advance(5_000)
  next().status(503, { 'retry-after': '90' })
  await clock.advance(89_999)
  t.ok(idle())
  await clock.advance(1)
  const date = 'Mon, 23 Nov 2026 12:00:00 GMT'
  next().status(429, { 'retry-after': 'Mon, 23 Nov 2026 12:02:00 GMT', date })
  await clock.advance(119_999)
  t.ok(idle())
  await clock.advance(1)
  next().status(429, { 'retry-after': '999999' })
  await clock.advance(300_000)
  next()
})

t.test('a long interval is not cut short by failures', async (t) => {
  const { clock, next, idle, start } = world(t)
  start({ intervalMs: 120_000 })
  next().status(500)
  await clock.advance(119_999)
  t.ok(idle())
  await clock.advance(1)
  next().status(500)
  await clock.advance(120_000)
  next()
})

t.test('data that is older than two intervals is stale', async (t) => {
  const { clock, next, start } = world(t, { timeoutMs: 60_000 })
  const { events } = start()
  next().answer(1)
  await clock.advance(5_000)
  const slow = next()
  await clock.advance(4_999)
  t.strictSame(events, [])
  await clock.advance(1)
  t.strictSame(events, ['stale'])
  slow.answer(2)
  await clock.settle()
  t.strictSame(events, ['stale', 'polling'])
})

t.test('read shares the first request; after that it asks for what is written meanwhile', async (t) => {
  const { clock, next, idle, start, polling } = world(t)
  const reading = polling.read(url)
  await clock.settle()
  const { orders, shown } = start()
  const first = next()
  t.ok(idle())
  first.answer(1)
  t.equal(await reading, 1)
  t.strictSame(shown, [1])
  await clock.advance(5_000)
  const poll = next()
  const both = Promise.all([polling.read({ url }), orders.refresh()])
  await clock.settle()
  t.ok(idle())
  poll.answer(2)
  await clock.settle()
  next().answer(3)
  t.strictSame(await both, [3, 3])
  t.strictSame(shown, [1, 2, 3])
  const failing = orders.refresh()
  next().status(500)
  await t.rejects(failing, { code: 'internal' })
})

t.test('read without a poll leaves nothing behind', async (t) => {
  const { clock, next, polling } = world(t)
  const reading = polling.read(url)
  await clock.settle()
  next().answer(1, 5)
  t.equal(await reading, 1)
  t.equal(clock.pending, 0)
  await t.rejects(createPolling({ fetch: scriptedFetch().fetch }).read('/api'), /must be absolute/)
})

t.test('a listener that throws stops nothing, and is told as uncaught', async (t) => {
  const { clock, next, start, polling } = world(t)
  const uncaught: unknown[] = []
  const listen = (error: unknown) => uncaught.push(error)
  const others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', listen)
  t.teardown(() => {
    process.off('uncaughtException', listen)
    for (const other of others) process.on('uncaughtException', other)
  })
  polling.poll({
    url,
    intervalMs: 5_000,
    onData: () => {
      throw new Error('mine')
    },
  })
  const { shown } = start()
  next().answer(1)
  await clock.advance(5_000)
  next().answer(2)
  await clock.settle()
  t.strictSame(shown, [1, 2])
  t.match(uncaught, [{ message: 'mine' }, { message: 'mine' }])
})

t.test('closed, nothing runs', async (t) => {
  const { clock, next, start, polling, page, asked } = world(t)
  const { orders, shown, errors } = start()
  const open = start({ key: 'b' })
  next().answer(1)
  await clock.advance(5_000)
  orders.close()
  t.ok(asked[2]!.init.signal!.aborted || asked[1]!.init.signal!.aborted)
  await t.rejects(orders.refresh(), { code: 'closed' })
  const reading = open.orders.refresh()
  polling.close()
  polling.close()
  await t.rejects(reading, { code: 'closed' })
  await clock.settle()
  t.equal(clock.pending, 0)
  t.equal(page.listening(), 0)
  t.strictSame([shown, errors], [[1], []])
  t.throws(() => start(), { code: 'closed' })
})
