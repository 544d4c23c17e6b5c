import t from 'tap'
import { createFakeClock } from '@everwire/testkit'
import type { Path } from './scripted-network.js'
import { fakePage, memory, open, world } from './world.js'

// Which transport a client takes, when, and what it says of that; on a network and in a time that are made up.

t.test('a first choice that works is attached at once, and nothing else is tried', async (t) => {
  const { client, clock, events } = world(t, { websocket: open(), sse: open() })
  client.connect()
  await clock.settle()
  t.equal(client.state, 'connected')
  t.same(events(), ['attach websocket 0'])
  await clock.advance(60_000)
  t.same(events(), ['attach websocket 0'])
  t.equal(client.explain().sentence, 'websocket for 60 s, the first choice')
  t.match(client.explain().transports, [
    { name: 'websocket', use: 'used' },
    { name: 'sse', use: 'possible' },
  ])
})

t.test('one that is blocked costs no time: the next asks for a session, and attaches', async (t) => {
  const { client, clock, events } = world(t, { websocket: { is: 'blocked' }, sse: open(), polling: open() })
  client.connect()
  await clock.settle()
  await clock.settle()
  t.equal(client.transport, 'sse')
  t.same(events(), ['attach websocket 0', 'probe sse 0', 'open-session http 0', 'attach sse 0'])
  const { sentence, transports, attempts } = client.explain()
  t.match(sentence, /^sse for 0 s, because websocket is set-back: websocket is blocked/)
  t.match(transports[0], { name: 'websocket', use: 'set-back', reason: /blocked.*again in 30 s/ })
  t.match(attempts, [
    { transport: 'websocket', ok: false, code: 'link-lost' },
    { transport: 'sse', ok: true },
  ])
})

t.test('beside one that is silent the next starts after the stagger', async (t) => {
  const { client, clock, events, network } = world(t, { websocket: { is: 'silent' }, sse: open() })
  client.connect()
  await clock.advance(999)
  t.equal(client.state, 'connecting')
  await clock.advance(1)
  t.equal(client.transport, 'sse')
  t.same(events().slice(1), ['probe sse 1000', 'open-session http 1000', 'attach sse 1000'])
  t.equal(network.open, 1, 'the silent one is closed')
  t.match(client.explain().sentence, /no answer within 1000 ms/)
})

t.test('two that are silent cost two staggers', async (t) => {
  const silent: Path = { is: 'silent' }
  const { client, clock } = world(t, { websocket: silent, sse: silent, polling: open() })
  client.connect()
  await clock.advance(2_000)
  t.equal(client.transport, 'polling')
})

t.test('a link on which no ping comes back does not count', async (t) => {
  const { client, clock, states } = world(t, { websocket: { is: 'half' }, sse: open() })
  client.connect()
  await clock.advance(10_000)
  t.equal(client.transport, 'sse')
  t.equal(client.stats().sessions, 1, 'its session goes on')
  t.match(client.explain().transports[0], { use: 'set-back' })
  t.same(states.filter((state) => state.startsWith('connected')).at(-1), 'connected sse')
})

t.test('who opens and dies is tried twice, then set back, for longer each time', async (t) => {
  const paths: Record<string, Path> = { websocket: { is: 'open', diesAfterMs: 200 }, sse: open() }
  const { client, clock, network } = world(t, paths)
  client.connect()
  await clock.advance(3_000)
  t.equal(client.transport, 'sse')
  await clock.advance(3_600_000)
  const tries = network.events.filter(({ transport, what }) => transport === 'websocket' && what === 'attach')
  t.ok(tries.length <= 15, `${tries.length} in an hour`)
  const waits = tries.slice(2).map(({ at }, index) => at - tries[index + 1]!.at)
  t.ok(Math.max(...waits) > 400_000, `at last ${Math.max(...waits)} ms apart`)
  t.equal(client.transport, 'sse')
  t.equal(client.stats().sessions, 1)
  paths.websocket!.diesAfterMs = undefined as never
  delete paths.websocket!.diesAfterMs
  await clock.advance(600_000)
  t.equal(client.transport, 'websocket', 'when it is mended it is used again')
})

t.test('a single early break is an accident', async (t) => {
  const { client, clock, network } = world(t, { websocket: open(), sse: open() })
  client.connect()
  await clock.advance(300)
  network.cut()
  await clock.advance(500)
  t.equal(client.transport, 'websocket')
})

t.test('who comes again goes straight to what worked', async (t) => {
  const store = memory()
  const clock = createFakeClock({ startMs: 1_000_000 })
  const paths: Record<string, Path> = { websocket: { is: 'silent' }, sse: open() }
  const first = world(t, paths, { memory: store }, clock)
  first.client.connect()
  await clock.advance(2_000)
  first.client.close()
  const second = world(t, paths, { memory: store }, clock)
  second.client.connect()
  await clock.settle()
  t.equal(second.client.transport, 'sse')
  t.same(second.events(), ['attach sse 0'], 'one round trip')
  second.client.close()
  const [[key, kept]] = [...store.kept] as [[string, string]]
  const { since } = JSON.parse(kept) as { since: number }
  store.setItem(key, kept.replace(String(since), String(since - 86_400_001)))
  const third = world(t, paths, { memory: store }, clock)
  third.client.connect()
  await clock.settle()
  t.same(third.events(), ['attach websocket 0'], 'a day later it is tried anew')
})

t.test('a memory that is broken, full or forbidden does no harm', async (t) => {
  const bad: Record<string, () => string | null> = {
    'not JSON': () => '{',
    'not ours': () => '[]',
    nothing: () => 'null',
    'half of it': () => '{"since":1,"back":null}',
    'of the future': () => '{"since":1e99,"back":{},"worked":"sse"}',
    forbidden: () => {
      throw new Error('SecurityError')
    },
  }
  for (const [name, getItem] of Object.entries(bad))
    await t.test(name, async (t) => {
      const setItem = () => {
        throw new Error('QuotaExceededError')
      }
      const { client, clock } = world(t, { websocket: open(), sse: open() }, { memory: { getItem, setItem } })
      client.connect()
      await clock.settle()
      t.equal(client.transport, 'websocket')
    })
})

t.test('the server refuses and orders, and says why', async (t) => {
  const { client, clock, network } = world(t, { websocket: { is: 'blocked' }, sse: open(), polling: open() })
  network.offer([
    { name: 'polling', offered: true, reason: 'this network holds streams back', rank: 0 },
    { name: 'sse', offered: true, reason: 'enabled', rank: 1 },
    { name: 'websocket', offered: false, reason: 'not for this network', rank: 2 },
  ])
  client.connect()
  await clock.settle()
  await clock.advance(120_000)
  t.equal(client.transport, 'polling', 'moved up to what the server likes best')
  t.match(client.explain().transports, [
    { name: 'polling', use: 'used' },
    { name: 'sse', use: 'possible' },
    { name: 'websocket', use: 'refused', reason: 'not for this network' },
  ])
  t.equal(network.events.filter(({ transport }) => transport === 'websocket').length, 1, 'not tried again')
})

t.test('what this runtime lacks is not tried, and one transport alone is never given up', async (t) => {
  const lacking = world(t, { websocket: { is: 'open', unsupported: true }, sse: open() })
  lacking.client.connect()
  await lacking.clock.settle()
  t.same(lacking.events(), ['attach sse 0'])
  t.match(lacking.client.explain().sentence, /because websocket is unsupported/)

  const alone = world(t, { websocket: { is: 'open', diesAfterMs: 100 } })
  alone.client.connect()
  await alone.clock.advance(600_000)
  const tries = alone.network.events.map(({ at }) => at)
  t.ok(tries.length > 20, `${tries.length} tries in ten minutes`)
  t.ok(tries.length < 100, `${tries.length} tries: the backoff grows though every link is welcomed`)
})

t.test('an outage of everything sets nothing back', async (t) => {
  const { client, clock, network } = world(t, { websocket: open(), sse: open() })
  client.connect()
  await clock.advance(10_000)
  network.isUp = false
  await clock.advance(30_000)
  t.equal(client.state, 'reconnecting')
  network.isUp = true
  await clock.advance(20_000)
  t.equal(client.transport, 'websocket')
  t.equal(client.stats().sessions, 1)
})

t.test('comes back on what worked, and goes up when a better one works again', async (t) => {
  const paths: Record<string, Path> = { websocket: { is: 'blocked' }, sse: open() }
  const { client, clock, states } = world(t, paths)
  client.connect()
  await clock.advance(1_000)
  paths.websocket!.is = 'open'
  await clock.advance(60_000)
  t.equal(client.transport, 'websocket')
  t.notOk(states.includes('reconnecting'), 'without an outage')
  t.equal(client.stats().sessions, 1)
})

t.test('a path that cuts what is silent is kept alive, after two cuts', async (t) => {
  const store = memory()
  const { client, clock, network } = world(t, { websocket: { is: 'open', idleMs: 8_000 } }, { memory: store })
  client.connect()
  await clock.advance(120_000)
  const before = client.stats().resumes
  t.ok(before >= 2, 'cut at least twice')
  t.ok(before <= 3, `${before} cuts`)
  await clock.advance(3_600_000)
  t.equal(client.stats().resumes, before, 'and never again')
  t.match([...store.kept.values()][0], /"idleMs":8/)
  const gaps = network.pings.slice(-10).map((at, index, all) => at - (all[index - 1] ?? at))
  t.ok(Math.max(...gaps) < 8_000)
})

t.test('silence that is cut from the start sets nothing back', async (t) => {
  const { client, clock } = world(t, { websocket: { is: 'open', idleMs: 4_000 }, sse: open() })
  client.connect()
  await clock.advance(120_000)
  t.equal(client.transport, 'websocket')
  t.ok(client.stats().resumes <= 3)
})

t.test('what a transport found out of the path is remembered with it', async (t) => {
  const store = memory()
  const first = world(t, { sse: open() }, { memory: store })
  first.network.transports[0]!.way = 'POST'
  first.client.connect()
  await first.clock.settle()
  const second = world(t, { websocket: open(), sse: open() }, { memory: store })
  t.equal(second.network.transports[1]!.way, 'POST')
  t.equal(second.network.transports[0]!.way, undefined)
})

t.test('who was silent while another won is set back, who had no time is not', async (t) => {
  const silent: Path = { is: 'silent' }
  const { client, clock } = world(t, { websocket: silent, sse: silent, polling: open() })
  client.connect()
  await clock.advance(2_000)
  t.equal(client.transport, 'polling')
  t.match(client.explain().transports, [
    { use: 'set-back', reason: /no answer within 2000 ms/ },
    { use: 'set-back', reason: /no answer within 1000 ms/ },
    { use: 'used' },
  ])
})

t.test(
  'a token that has expired is fetched anew once, at once; then as slowly as anything else',
  async (t) => {
    const paths: Record<string, Path> = { websocket: open() }
    let fetched = 0
    const { client, clock, network } = world(t, paths, { getToken: () => `t${++fetched}` })
    client.connect()
    await clock.advance(60_000)
    network.receive('refuse', 'token-expired')
    await clock.advance(0)
    t.equal(client.state, 'connected', 'no time has passed')
    t.equal(fetched, 2)
    t.same(network.tokens, ['t1', 't2'])

    paths.websocket!.refuses = ['token-expired']
    await clock.advance(60_000)
    network.receive('refuse', 'token-expired')
    await clock.advance(120_000)
    t.ok(fetched < 25, `${fetched} tokens in two minutes of refusals`)
    delete paths.websocket!.refuses
    await clock.advance(20_000)
    t.equal(client.state, 'connected')
  },
)

t.test('getToken may end it, fail, or never answer', async (t) => {
  const { EverwireError } = await import('@everwire/client')
  const ending = world(
    t,
    { websocket: open() },
    {
      getToken: () => {
        throw new EverwireError('unauthorized', 'logged out')
      },
    },
  )
  ending.client.connect()
  await ending.clock.settle()
  t.equal(ending.client.state, 'closed')

  let asked = 0
  const hanging = world(
    t,
    { websocket: open() },
    { getToken: () => (++asked === 1 ? new Promise<string>(() => {}) : 'token') },
  )
  hanging.client.connect()
  await hanging.clock.advance(61_000)
  t.equal(hanging.client.state, 'connected')
})

t.test('a time to wait that the server names is obeyed, whatever the page hears', async (t) => {
  const page = fakePage(t)
  const paths: Record<string, Path> = {
    websocket: { is: 'open', refuses: ['rate-limited', 40_000] },
    sse: open(),
  }
  const { client, clock, events } = world(t, paths)
  client.connect()
  for (let second = 0; second < 39; second++) {
    await clock.advance(1_000)
    page.fire('online')
    page.fire('visibilitychange')
  }
  t.same(events(), ['attach websocket 0'], 'nor is another transport asked')
  delete paths.websocket!.refuses
  await clock.advance(2_000)
  t.equal(client.state, 'connected')
})

t.test('what the page hears hastens nothing beyond the backoff', async (t) => {
  const page = fakePage(t)
  const { client, clock, network } = world(t, { websocket: open() })
  network.isUp = false
  client.connect()
  for (let tenth = 0; tenth < 600; tenth++) {
    await clock.advance(100)
    page.fire('online')
  }
  const times = network.events.filter(({ what }) => what === 'attach').map(({ at }) => at)
  const waits = times.slice(1).map((at, index) => at - times[index]!)
  t.ok(Math.min(...waits) >= 500, `${Math.min(...waits)} ms between two tries`)
  t.ok(times.length > 60, 'and it hastens')
})

t.test('when the network may have changed a silent link is found out at once', async (t) => {
  const page = fakePage(t)
  const paths: Record<string, Path> = { websocket: open(), sse: open() }
  const { client, clock } = world(t, paths)
  client.connect()
  await clock.advance(10_000)
  paths.websocket!.is = 'half'
  page.fire('online')
  await clock.advance(2_000)
  t.not(client.transport, 'websocket')
  await clock.advance(5_000)
  t.equal(client.state, 'connected')
})

t.test('a page that sleeps is no dead server', async (t) => {
  const { client, clock, states } = world(t, { websocket: open() })
  client.connect()
  await clock.advance(1_000)
  await clock.sleep(3_600_000)
  await clock.advance(1_000)
  t.same(states, ['connecting', 'connected websocket'])
})

t.test('a page that is kept closes its link, and comes back with its session', async (t) => {
  const page = fakePage(t)
  const { client, clock, network, events } = world(t, { websocket: open() })
  client.connect()
  await clock.advance(1_000)
  page.fire('pagehide', { persisted: true })
  t.equal(network.open, 0)
  await clock.advance(60_000)
  t.equal(events().length, 1, 'nothing is tried while it is hidden')
  page.fire('pageshow', { persisted: true })
  await clock.advance(0)
  t.equal(client.state, 'connected')
  t.equal(client.stats().sessions, 1)
})

t.test('a page that is left says good-bye', async (t) => {
  const page = fakePage(t)
  const { client, clock } = world(t, { websocket: open() })
  client.connect()
  await clock.advance(1_000)
  page.fire('pagehide', { persisted: false })
  t.equal(client.state, 'closed')
  t.equal(clock.pending, 0)
  t.equal(page.listeners, 0, 'it listens to nothing any more')
})
