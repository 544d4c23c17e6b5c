import t from 'tap'
import { createClient, storedQueue, type StoredPublication } from '@everwire/client'
import { createFakeClock } from '@everwire/testkit'
import type { Header, Path } from './scripted-network.js'
import { fakePage, memory, open, world } from './world.js'

// Servers, stores, memories, proxies and pages that say or do what they should not.

const ignore = () => {}
/** An answer of HTTP that has this body. */
const saying = (body: string) => () => Promise.resolve(new Response(body))
const ofKind = (frames: readonly { header: Header }[], kind: string) =>
  frames.filter(({ header }) => header[0] === kind)

t.test(
  'something on the way that answers for the server breaks it for no longer than it is there',
  async (t) => {
    for (const body of [
      '{}',
      'null',
      '"x"',
      '{"session":5,"transports":{}}',
      '{"transports":[null]}',
      '<html>',
    ])
      await t.test(body, async (t) => {
        const paths: Record<string, Path> = { websocket: { is: 'blocked' }, sse: { is: 'blocked' } }
        const { client, clock } = world(t, paths, { fetch: saying(body) })
        client.connect()
        await clock.advance(60_000)
        paths.websocket!.is = paths.sse!.is = 'open'
        await clock.advance(60_000)
        t.equal(client.state, 'connected')
      })
  },
)

t.test('a first welcome without offers is a welcome', async (t) => {
  for (const transports of [undefined, null, {}, [null]]) {
    const { client, clock, network } = world(t, { websocket: open() })
    network.welcomes.transports = transports
    client.connect()
    await clock.settle()
    t.equal(client.state, 'connected', JSON.stringify(transports))
  }
})

t.test('whoever says to wait for weeks is believed for an hour', async (t) => {
  for (const retryAfterMs of [2_592_000_000, 1e300]) {
    const paths: Record<string, Path> = { websocket: { is: 'open', refuses: ['rate-limited', retryAfterMs] } }
    const { client, clock, network } = world(t, paths)
    client.connect()
    await clock.advance(3_590_000)
    t.equal(network.events.length, 1)
    delete paths.websocket!.refuses
    await clock.advance(20_000)
    t.equal(client.state, 'connected')
  }
})

t.test('what was refused is asked for again when nothing else is left', async (t) => {
  for (const isAllRefused of [true, false]) {
    const paths: Record<string, Path> = { websocket: open(), sse: open() }
    const { client, clock, network } = world(t, paths)
    network.offer([
      { name: 'websocket', offered: !isAllRefused, reason: 'not from the office' },
      { name: 'sse', offered: false, reason: 'not from the office' },
    ])
    client.connect()
    await clock.advance(10_000)
    // At home WebSockets are blocked, and the server offers everything.
    paths.websocket!.is = 'blocked'
    network.offer([])
    network.cut()
    await clock.advance(60_000)
    t.equal(client.transport, 'sse', isAllRefused ? 'all were refused' : 'the other was refused')
  }
})

t.test('a full queue costs no subscription when the session is lost', async (t) => {
  const { client, clock, network } = world(t, { websocket: open() }, { queueSize: 3 })
  network.answer(([kind], number) => (kind === 'sub' ? ['ack', number, 'e', 5] : undefined))
  const channel = client.channel('a:b')
  const lost: string[] = []
  channel.on('unsubscribed', ({ code }) => lost.push(code))
  await Promise.all([channel.subscribe(), clock.settle()])
  network.isUp = false
  for (let waiting = 0; waiting < 3; waiting++) channel.publish('x', waiting).catch(ignore)
  network.paths.websocket!.refuses = ['unknown-session']
  network.isUp = true
  await clock.advance(3_000)
  t.equal(channel.subscribed, false)
  delete network.paths.websocket!.refuses
  await clock.advance(15_000)
  t.equal(client.stats().sessions, 2)
  t.same([lost, channel.subscribed], [[], true])
})

t.test('a memory that was tampered with makes neither a storm nor a crash', async (t) => {
  const idle = [0, -5, 'x', null].map((idleMs) => ({ since: 1, back: {}, idleMs }))
  const back = ['x', { websocket: null }, [1], { websocket: { until: 'x', times: {} } }].map((back) => ({
    since: 1,
    back,
  }))
  for (const kept of [...idle, ...back])
    await t.test(JSON.stringify(kept), async (t) => {
      const page = fakePage(t)
      const store = memory()
      store.setItem('everwire:http://localhost:1/everwire', JSON.stringify(kept))
      const paths: Record<string, Path> = { websocket: { is: 'silent' }, sse: open() }
      const { client, clock, network } = world(t, paths, { memory: store, memoryMs: 1e15 })
      client.connect()
      await clock.advance(3_000)
      t.equal(client.transport, 'sse')
      t.doesNotThrow(() => page.fire('online'))
      await clock.advance(1_000)
      t.ok(network.pings.length < 5, `${network.pings.length} pings`)
    })
})

t.test('a heartbeat that makes no sense makes no storm of pings', async (t) => {
  for (const heartbeatMs of [0, -1, 0.2, undefined, null, 'x', 2 ** 31]) {
    const { client, clock, network } = world(t, { websocket: open() })
    network.welcomes.heartbeatMs = heartbeatMs
    client.connect()
    await clock.advance(60_000)
    t.equal(client.state, 'connected')
    t.ok(network.pings.length < 5, `${network.pings.length} pings in a minute of ${heartbeatMs}`)
  }
})

t.test('two accidents after a short silence teach nothing', async (t) => {
  const { client, clock, network } = world(t, { websocket: open() })
  client.connect()
  await clock.advance(60_000)
  for (const silentMs of [1_300, 1_100]) {
    await clock.advance(3_600_000)
    network.receive('pong', 0)
    await clock.advance(silentMs)
    network.cut()
    await clock.advance(1_000)
  }
  const before = network.pings.length
  await clock.advance(3_600_000)
  t.ok(network.pings.length - before < 200, `${network.pings.length - before} pings in an hour`)
})

t.test('frames that only tell of the node are signs of life', async (t) => {
  const { client, clock, network } = world(t, { websocket: open() })
  client.connect()
  await clock.advance(10)
  network.paths.websocket!.is = 'half'
  for (let second = 0; second < 120; second++) {
    await clock.advance(1_000)
    network.receive('stale', second % 2)
  }
  t.equal(network.events.length, 1, 'the link is not given up')
})

t.test(
  'a subscription that is refused for now, without a time to wait, is asked for once a second',
  async (t) => {
    const { client, clock, network } = world(t, { websocket: open() })
    network.answer(([kind], number) => (kind === 'sub' ? ['err', number, 'temporary', '', 0] : undefined))
    client.channel('a:b').subscribe().catch(ignore)
    await clock.advance(10_000)
    const asked = ofKind(network.sent, 'sub').length
    t.ok(asked > 5 && asked <= 11, `${asked} in 10 s`)
  },
)

t.test(
  'a subscription is sent before what was published after it, while nothing was connected',
  async (t) => {
    const { client, clock, network } = world(t, { websocket: open() })
    const channel = client.channel('a:b')
    channel.publish('x', 1).catch(ignore)
    channel.subscribe().catch(ignore)
    await clock.settle()
    t.same(
      network.sent.map(({ header }) => header[0]),
      ['sub', 'pub'],
    )
  },
)

t.test('what was published as one user is not sent as another', async (t) => {
  const { client, clock, network } = world(t, { websocket: open() })
  network.welcomes.userId = 'alice'
  client.connect()
  await clock.settle()
  network.isUp = false
  const publication = client.channel('a:b').publish('x', 'of alice')
  const rejected = t.rejects(publication, { code: 'outcome-unknown' })
  network.welcomes.userId = 'bob'
  network.paths.websocket!.refuses = ['unknown-session']
  network.isUp = true
  await clock.advance(3_000)
  delete network.paths.websocket!.refuses
  await clock.advance(15_000)
  await rejected
  t.equal(client.userId, 'bob')
  t.same(network.sent, [])
})

t.test('an answer to the server that is too large is an error, not a frame', async (t) => {
  const { client, clock, network } = world(t, { websocket: open() })
  client.method('much', () => 'x'.repeat(100_000))
  client.connect()
  await clock.settle()
  network.receive('req', 'much', 1_000)
  await clock.settle()
  t.match(network.sent, [{ header: ['err', 1, 'frame-too-large'] }])
  t.equal(client.state, 'connected')
})

const kept = (more: object = {}): StoredPublication => ({
  ...{ id: 'good', channel: 'a:b', event: 'x', payload: '1', queuedAt: Date.now() - 10 },
  ...{ order: 0, timeoutMs: 60_000 },
  ...more,
})

t.test('one item of a store that makes no sense costs none of the others', async (t) => {
  for (const bad of [null, 'x', kept({ id: 'bad', channel: 5 }), kept({ id: 'bad', payload: 5 })]) {
    const load = () => [bad as StoredPublication, kept()]
    const queueStore = storedQueue({ load, add: ignore, remove: ignore })
    const { client, clock, network } = world(t, { websocket: open() }, { queueStore })
    client.connect()
    await clock.advance(1_000)
    t.match(network.sent, [{ header: ['pub', 'a:b', 'x', 'good'] }], JSON.stringify(bad))
    t.equal(network.sent.length, 1)
  }
})

t.test('a listener of the store that throws does no harm to the link', async (t) => {
  let heard = 0
  const queueStore = storedQueue(
    { load: () => [kept()], add: ignore, remove: ignore },
    {
      dropped() {
        heard++
        throw new Error('of the application')
      },
    },
  )
  const { client, clock, network } = world(t, { websocket: open() }, { queueStore })
  client.connect()
  await clock.settle()
  t.doesNotThrow(() => network.receive('err', 1, 'forbidden'))
  t.equal(heard, 1)
  t.equal(client.state, 'connected')
})

t.test('a page that is hidden while it connects opens nothing, and goes on when it is shown', async (t) => {
  const page = fakePage(t)
  const { client, clock, network } = world(t, { websocket: { is: 'silent' }, sse: open() })
  client.connect()
  await clock.advance(500)
  page.fire('pagehide', { persisted: true })
  t.same([network.open, network.probing], [0, 0], 'at once')
  await clock.advance(60_000)
  t.same([network.open, network.events.length], [0, 1], 'nor later')
  page.fire('pageshow', { persisted: true })
  await clock.advance(2_000)
  t.equal(client.transport, 'sse')
})

t.test('an upgrade that failed is set back once', async (t) => {
  const paths: Record<string, Path> = {
    websocket: { is: 'blocked' },
    sse: { is: 'blocked' },
    polling: open(),
  }
  const store = memory()
  const { client, clock, network } = world(t, paths, { memory: store })
  const times = () => {
    const [text] = [...store.kept.values()] as [string]
    return (JSON.parse(text) as { back: { websocket: { times: number } } }).back.websocket.times
  }
  client.connect()
  await clock.advance(100)
  t.equal(times(), 1)
  paths.sse!.is = 'open'
  await clock.advance(70_000)
  t.equal(client.transport, 'sse')
  const tried = network.events.filter(({ transport }) => transport === 'websocket').length
  t.ok(tried > 1, `${tried} tries`)
  t.equal(times(), tried)
})

t.test('getToken is not asked while it is thinking', async (t) => {
  const clock = createFakeClock({ startMs: 1_000_000 })
  let running = 0
  let most = 0
  const getToken = () =>
    new Promise<string>((resolve) => {
      most = Math.max(most, ++running)
      clock.after(15_000, () => {
        running--
        resolve('token')
      })
    })
  const { client } = world(t, { websocket: open() }, { getToken }, clock)
  client.connect()
  await clock.advance(20_000)
  t.equal(client.state, 'connected')
  t.equal(most, 1)
})

t.test('a publication may wait for ever', async (t) => {
  const paths: Record<string, Path> = { websocket: { is: 'silent' } }
  const { network } = world(t, paths)
  // By the clock of the machine, whose timers are bounded.
  const client = createClient({ url: 'http://localhost:1/everwire', transports: network.transports })
  t.teardown(() => client.close())
  const settled: string[] = []
  const publish = (timeoutMs: number) =>
    client
      .channel('a:b')
      .publish('x', 1, { timeoutMs })
      .catch(() => settled.push(String(timeoutMs)))
  void publish(Infinity)
  void publish(2 ** 31)
  await publish(10)
  t.same(settled, ['10'])
})

t.test('a long outage leaves nothing behind', async (t) => {
  const warnings: string[] = []
  const hear = ({ name }: Error) => warnings.push(name)
  process.on('warning', hear)
  t.teardown(() => process.off('warning', hear))
  const { client, clock } = world(t, { websocket: { is: 'blocked' }, sse: { is: 'blocked' } })
  client.connect()
  await clock.advance(600_000)
  t.ok(clock.pending <= 1, 'the next try')
  t.same(warnings, [], 'no listeners on what ends it all')
})
