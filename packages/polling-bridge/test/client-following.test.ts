import t, { type Test } from 'tap'
import { controlChannel } from '../src/change.js'
import type { PollingOptions } from '../src/client.js'
import { name, world } from './scripted.js'

// Going live and back, with a client, a channel, a route and a clock that the test owns. Chance is always one half.

/** A poll that was announced at 5 with the state 0, and is live. */
async function live(t: Test, options: PollingOptions = {}) {
  const all = world(t, options)
  const polled = all.start()
  all.next().answer(0, 5)
  await all.clock.settle()
  all.channel.accept(5)
  return { ...all, ...polled }
}

t.test(
  'subscribes from the announced position, and stops polling when the server has accepted',
  async (t) => {
    const { clock, next, idle, start, channel } = world(t)
    const { shown, events, orders } = start()
    next().answer(0, 5)
    await clock.settle()
    t.strictSame(channel.log, ['subscribe 5'])
    t.equal(orders.state, 'polling')
    await clock.advance(5_000)
    next().unchanged(5)
    await clock.settle()
    channel.accept(5)
    t.equal(orders.state, 'live')
    channel.snapshot(0, 1, 6)
    await clock.advance(100_000)
    t.ok(idle())
    t.strictSame(shown, [0, 1])
    t.strictSame(events, ['live'])
  },
)

t.test('what is not chained makes it ask once, after a moment, on condition', async (t) => {
  const { clock, next, idle, shown, channel } = await live(t)
  channel.snapshot(7, 8, 6)
  channel.snapshot(8, 9, 7)
  await clock.advance(49)
  t.ok(idle())
  await clock.advance(1)
  const refetch = next()
  t.equal(refetch.header('if-none-match'), 'W/"r0"')
  channel.snapshot(9, 10, 8)
  refetch.answer(9, 5)
  await clock.settle()
  t.strictSame(shown, [0, 10])
  await clock.advance(1_000)
  t.ok(idle())
  channel.snapshot(10, 11, 9)
  t.strictSame(shown, [0, 10, 11])
})

t.test('what comes by itself within that moment is not asked for', async (t) => {
  const { clock, next, start, idle, channel } = world(t)
  const { shown } = start()
  next().answer(2, 5)
  await clock.settle()
  channel.accept(5)
  channel.snapshot(0, 1, 6)
  channel.snapshot(1, 2, 7)
  channel.snapshot(2, 3, 8)
  await clock.advance(1_000)
  t.ok(idle())
  t.strictSame(shown, [2, 3])
})

t.test(
  'the tag of what was published stands in for the one of an answer, where it is the revision',
  async (t) => {
    const { next, orders, channel, clock } = await live(t)
    channel.snapshot(0, 1, 6)
    const first = orders.refresh()
    const asked = next()
    t.equal(asked.header('if-none-match'), 'W/"r1"')
    asked.unchanged(6, 'r1')
    t.equal(await first, 1)
    const second = orders.refresh()
    next().answer(2, 6, { etag: '"mine"' })
    t.equal(await second, 2)
    channel.snapshot(2, 3, 7)
    void orders.refresh()
    t.equal(next().header('if-none-match'), null)
    await clock.settle()
  },
)

t.test('an invalidation and a gap ask, in a hidden page too', async (t) => {
  const { clock, next, idle, shown, channel, page } = await live(t)
  channel.publish('invalidate', { to: null }, 6)
  await clock.advance(50)
  next().answer(1, 6)
  await clock.settle()
  page.show(false)
  channel.gap()
  await clock.advance(50)
  next().answer(2, 6)
  await clock.settle()
  t.strictSame(shown, [0, 1, 2])
  await clock.advance(1_000_000)
  t.ok(idle(), 'but it is not audited')
})

t.test('an answer that a publication overtook is not shown', async (t) => {
  const { clock, next, idle, shown, channel, orders } = await live(t)
  const refreshing = orders.refresh()
  channel.snapshot(0, 1, 6)
  next().answer(0, 5)
  t.equal(await refreshing, 1)
  t.strictSame(shown, [0, 1])
  await clock.advance(1_000)
  t.ok(idle())
})

for (const [how, lose, back] of [
  ['the connection is away', 'reconnecting', 'connected'],
  ['its node is cut off', true, false],
] as const)
  t.test(`polls while ${how}, the first time within the interval`, async (t) => {
    const { clock, next, idle, shown, events, channel, client } = await live(t)
    const set = (to: typeof lose | typeof back) =>
      typeof to === 'string' ? client.set(to) : client.setStale(to)
    await clock.advance(60_000)
    set(lose)
    await clock.advance(2_499)
    t.ok(idle())
    await clock.advance(1)
    next().answer(2, 7)
    await clock.advance(5_000)
    next().unchanged(7)
    await clock.settle()
    set(back)
    channel.snapshot(0, 1, 6)
    channel.snapshot(1, 2, 7)
    channel.snapshot(2, 3, 8)
    // It came back, perhaps to a server that publishes nothing: asked once.
    await clock.advance(5_000)
    next().unchanged(8)
    await clock.advance(60_000)
    t.ok(idle())
    t.strictSame(shown, [0, 2, 3])
    t.strictSame(events, ['live', 'polling', 'live'])
    t.strictSame(channel.log, ['subscribe 5'])
  })

t.test(
  'a subscription that is taken back for a moment, which nobody tells, is noticed within the interval',
  async (t) => {
    const { clock, next, events, channel } = await live(t)
    channel.pause()
    await clock.advance(7_500)
    next().unchanged(5)
    channel.accept()
    await clock.settle()
    t.strictSame(events, ['live', 'polling', 'live'])
  },
)

t.test('refused, it polls on, and tries again after a time that grows', async (t) => {
  const { clock, next, start, channel, idle } = world(t)
  const { events, orders } = start()
  next().answer(0, 5)
  await clock.settle()
  for (const waitMs of [30_000, 60_000]) {
    channel.refuse('forbidden')
    await clock.settle()
    const before = channel.log.length
    for (let passed = 0; passed < waitMs; passed += 5_000) {
      t.equal(channel.log.length, before)
      await clock.advance(5_000)
      next().unchanged(5)
      await clock.settle()
    }
    t.equal(channel.log.length, before + 1)
  }
  channel.accept(5)
  t.equal(orders.state, 'live')
  channel.revoke('forbidden')
  t.equal(orders.state, 'polling')
  await clock.advance(2_500)
  next().unchanged(5)
  for (let passed = 0; passed < 30_000; passed += 5_000) {
    await clock.advance(5_000)
    next().unchanged(5)
    await clock.settle()
  }
  t.equal(channel.log.filter((line) => line.startsWith('subscribe')).length, 4, 'live begins the count anew')
  channel.refuse('unknown-channel')
  await clock.advance(5_000)
  next().answer(0, 9, { channel: 'orders:other' })
  await clock.settle()
  t.strictSame(events.slice(0, 5), [
    'refused forbidden',
    'refused forbidden',
    'live',
    'refused forbidden',
    'polling',
  ])
  t.ok(idle())
})

t.test('an answer without an announcement ends live', async (t) => {
  const { clock, next, channel, client, events, orders } = await live(t)
  void orders.refresh()
  next().answer(0)
  await clock.settle()
  t.strictSame(channel.log, ['subscribe 5', 'unsubscribe'])
  t.strictSame(client.channel(controlChannel).log, ['subscribe undefined', 'unsubscribe'])
  t.strictSame(events, ['live', 'polling'])
  t.equal(client.listening(), 1, 'only whether it is closed')
  t.equal(channel.listening(), 0)
  await clock.advance(2_500)
  next()
})

t.test('an answer that announces nothing more, and was overtaken, is not shown either', async (t) => {
  const { clock, next, channel, shown, orders } = await live(t)
  const refreshing = orders.refresh()
  channel.snapshot(0, 1, 6)
  next().answer(0)
  t.equal(await refreshing, 1)
  await clock.advance(2_500)
  next().answer(2)
  await clock.settle()
  t.strictSame(shown, [0, 1, 2])
})

t.test('the first poll of a hidden page goes out, and live comes with it', async (t) => {
  const { clock, next, idle, start, page, channel } = world(t)
  page.show(false)
  const { orders, shown } = start()
  next().answer(0, 5)
  await clock.settle()
  channel.accept(5)
  channel.snapshot(0, 1, 6)
  t.equal(orders.state, 'live')
  channel.pause()
  await clock.advance(60_000)
  t.ok(idle())
  page.show(true)
  t.equal(orders.state, 'polling')
  await clock.advance(0)
  next()
  t.strictSame(shown, [0, 1])
})

t.test('another channel is another resource', async (t) => {
  const { clock, next, channel, client, orders, shown } = await live(t)
  void orders.refresh()
  next().answer(7, 1, { channel: 'orders:bob' })
  await clock.settle()
  t.strictSame(channel.log, ['subscribe 5', 'unsubscribe'])
  client.channel('orders:bob').accept(1)
  client.channel('orders:bob').snapshot(7, 8, 2)
  channel.snapshot(0, 1, 6)
  t.strictSame(shown, [0, 7, 8])
  t.equal(orders.state, 'live')
})

t.test('another user: what is known counts no more, and answers that were under way neither', async (t) => {
  const { clock, next, channel, client, orders, shown } = await live(t)
  const refreshing = orders.refresh()
  const old = next()
  client.facts.userId = 'bob'
  channel.snapshot(0, 1, 6)
  t.strictSame(channel.log, ['subscribe 5', 'unsubscribe'])
  old.answer(2, 6)
  await t.rejects(refreshing, { code: 'outcome-unknown' })
  await clock.advance(0)
  const anew = next()
  t.equal(anew.header('if-none-match'), null)
  anew.answer(9, 2)
  await clock.settle()
  t.strictSame(shown, [0, 9])
  t.strictSame(channel.log, ['subscribe 5', 'unsubscribe', 'subscribe 2'])
})

t.test('a channel that the application reads itself stays with it, and is caught up with', async (t) => {
  const { clock, next, start, channel } = world(t)
  void channel.channel.subscribe()
  channel.accept(9)
  const { shown, orders } = start()
  next().answer(0, 5)
  await clock.settle()
  t.equal(orders.state, 'live')
  await clock.advance(50)
  next().answer(4, 10)
  await clock.settle()
  channel.snapshot(4, 5, 11)
  t.strictSame(shown, [0, 4, 5])
  orders.close()
  await clock.settle()
  t.strictSame(channel.log, ['subscribe undefined'])
  t.equal(channel.listening(), 0)
})

t.test('where whoever shares the channel ends it, it is subscribed anew', async (t) => {
  const { clock, next, channel, orders } = await live(t)
  await channel.channel.unsubscribe()
  await clock.advance(7_500)
  t.equal(orders.state, 'polling')
  next().unchanged(8)
  await clock.settle()
  t.strictSame(channel.log, ['subscribe 5', 'unsubscribe', 'unsubscribe', 'subscribe 8'])
  channel.accept(8)
  t.equal(orders.state, 'live')
})

t.test('two resources on one channel share the subscription; the last one ends it', async (t) => {
  const { clock, next, start, channel } = world(t)
  const one = start({ key: 'one' })
  next().answer(0, 5)
  await clock.settle()
  const two = start({ key: 'two' })
  next().answer(0, 6)
  await clock.settle()
  channel.accept(5)
  channel.snapshot(0, 1, 7)
  t.strictSame(
    [one.shown, two.shown],
    [
      [0, 1],
      [0, 1],
    ],
  )
  one.orders.close()
  t.notOk(channel.log.includes('unsubscribe'))
  channel.snapshot(1, 2, 8)
  two.orders.close()
  t.equal(channel.log.at(-1), 'unsubscribe')
  t.strictSame(
    [one.shown, two.shown],
    [
      [0, 1],
      [0, 1, 2],
    ],
  )
})

t.test('an audit finds what nobody publishes', async (t) => {
  const { clock, next, idle, shown, events, channel, orders } = await live(t)
  await clock.advance(299_999)
  t.ok(idle())
  await clock.advance(1)
  next().unchanged(5)
  await clock.advance(300_000)
  next().answer(1, 5)
  await clock.settle()
  t.strictSame(shown, [0, 1])
  await clock.advance(4_999)
  channel.snapshot(0, 1, 6)
  await clock.advance(10_000)
  t.strictSame(events, ['live'], 'its publication was only late')
  await clock.advance(300_000 - 14_999)
  next().answer(2, 6)
  await clock.advance(5_000)
  t.strictSame(events, ['live', 'drift r2'])
  t.equal(orders.state, 'live')
  await clock.advance(295_000)
  const audit = next()
  channel.snapshot(2, 3, 7)
  audit.answer(3, 6)
  await clock.advance(5_000)
  t.strictSame(events, ['live', 'drift r2'], 'what came while it was asked is no drift')
})

t.test('an audit that fails ends nothing; a refetch that fails does, until one works', async (t) => {
  const { clock, next, events, errors, channel, orders } = await live(t)
  await clock.advance(300_000)
  next().status(500)
  await clock.settle()
  t.strictSame([orders.state, orders.failures, errors], ['live', 1, ['internal']])
  channel.gap()
  await clock.advance(50)
  next().status(500)
  await clock.settle()
  t.strictSame(events, ['live', 'stale'])
  await clock.advance(10_000)
  next().answer(1, 6)
  await clock.settle()
  t.strictSame(events, ['live', 'stale', 'live'])
})

t.test('operators take live back, and the next answer decides', async (t) => {
  const { clock, next, idle, channel, client, events } = await live(t)
  const control = client.channel(controlChannel)
  control.accept(0)
  await clock.settle()
  control.publish('set', { mode: 'live', rollout: 100 }, 1)
  t.strictSame(events, ['live'])
  control.publish('set', { rollout: 50 }, 2)
  t.strictSame(events, ['live', 'polling'])
  t.equal(channel.log.at(-1), 'unsubscribe')
  await clock.advance(2_500)
  next().unchanged(5)
  await clock.settle()
  // It is still meant.
  control.keep({ rollout: 50 }, 2)
  control.accept(2)
  channel.accept(5)
  await clock.settle()
  t.strictSame(events, ['live', 'polling', 'live'])
  control.publish('set', { mode: 'polling' }, 3)
  await clock.advance(2_500)
  next().answer(1)
  await clock.advance(5_000)
  next().answer(1)
  t.strictSame(events, ['live', 'polling', 'live', 'polling'])
  t.ok(idle())
})

t.test('a node that has not heard the operator does not bring live back', async (t) => {
  const { clock, next, channel, client, events } = await live(t)
  const control = client.channel(controlChannel)
  control.keep({ mode: 'off' }, 1)
  control.accept(1)
  await clock.settle()
  await clock.advance(2_500)
  next().unchanged(5)
  await clock.settle()
  channel.accept(5)
  control.accept(1)
  await clock.settle()
  t.strictSame(events, ['live', 'polling', 'live', 'polling'])
})

t.test('an answer that was under way when the operator spoke does not count', async (t) => {
  const { clock, next, client, orders, channel } = await live(t)
  const control = client.channel(controlChannel)
  control.accept(0)
  await clock.settle()
  void orders.refresh()
  control.publish('set', { rollout: 1 }, 1)
  next().unchanged(5)
  await clock.settle()
  t.strictSame(channel.log, ['subscribe 5', 'unsubscribe'])
})

t.test('with another mode, what answers announce is not heeded', async (t) => {
  for (const mode of ['polling', 'off'] as const) {
    const { clock, next, start, channel } = world(t, { mode })
    const { orders } = start()
    const asked = next()
    t.equal(asked.header('everwire-mode'), mode)
    asked.answer(0, 5)
    await clock.settle()
    t.strictSame(channel.log, [])
    t.equal(orders.state, 'polling')
  }
})

t.test('a client that cannot be had, or is closed, leaves it polling', async (t) => {
  const { client } = world(t)
  let made = 0
  const { clock, next, start } = world(t, {
    client: async () => {
      if (++made === 1) throw new Error('not now')
      return client.client
    },
  })
  const { events, orders } = start()
  next().answer(0, 5)
  await clock.settle()
  t.strictSame(events, ['refused internal'])
  for (let passed = 0; passed < 30_000; passed += 5_000) {
    await clock.advance(5_000)
    next().unchanged(5)
  }
  await clock.settle()
  client.channel(name).accept(5)
  t.equal(orders.state, 'live')
  client.set('closed')
  t.strictSame(events, ['refused internal', 'live', 'refused closed', 'polling'])
  t.equal(client.facts.closed, 0)
})

t.test('closed while live, it leaves nothing, and the client to its owner', async (t) => {
  const { clock, polling, channel, client } = await live(t)
  polling.close()
  await clock.settle()
  t.equal(clock.pending, 0)
  t.equal(channel.listening() + client.channel(controlChannel).listening(), 0)
  t.equal(channel.log.at(-1), 'unsubscribe')
  t.equal(client.facts.closed, 0)
})

t.test('an announcement of another server is not followed', async (t) => {
  const { clock, next, start } = world(t, { client: undefined })
  const { events, orders } = start()
  const link = `<https://evil.example/everwire/channels/a%3Ab>; rel="monitor"; channel="a%3Ab"; epoch="e"; offset="1"; revision="sr"`
  next().respond(new Response('1', { headers: { link } }))
  await clock.settle()
  t.strictSame(events, ['refused bad-payload'])
  t.equal(orders.state, 'polling')
})
