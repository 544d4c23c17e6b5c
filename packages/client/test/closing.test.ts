import t from 'tap'
import { EverwireError, storedQueue, type StoredPublication } from '@everwire/client'
import { createFakeClock } from '@everwire/testkit'
import type { Path } from './scripted-network.js'
import { fakePage, open, world } from './world.js'

// A client that is closed stays closed, in whatever phase; two sessions are never joined; promises settle.

const codeOf = (error: unknown) => (error instanceof EverwireError ? error.code : String(error))
/** How the promises ended, in that order. */
function outcomes(...promises: Promise<unknown>[]) {
  const ended: string[] = []
  for (const promise of promises)
    promise.then(
      () => ended.push('done'),
      (error: unknown) => ended.push(codeOf(error)),
    )
  return ended
}

/** What pages keep for one another, and the queue of one page. */
const queueOf = (kept: Map<string, StoredPublication>) =>
  storedQueue({
    load: () => [...kept.values()],
    add: (publication) => void kept.set(publication.id, publication),
    remove: (id) => void kept.delete(id),
  })

t.test('closed while getToken thinks', async (t) => {
  const { promise, resolve } = withResolvers<string>()
  const { client, clock, network } = world(t, { websocket: open() }, { getToken: () => promise })
  client.connect()
  await clock.settle()
  client.close()
  resolve('token')
  await clock.advance(60_000)
  t.equal(client.state, 'closed')
  t.same(network.events, [])
  t.equal(clock.pending, 0)
})

t.test('closed while it asks for a session', async (t) => {
  const { promise, resolve } = withResolvers<Response>()
  let asked = 0
  const fetch = () => {
    asked++
    return promise
  }
  const paths: Record<string, Path> = { websocket: { is: 'blocked' } }
  const { client, clock, network } = world(t, paths, { fetch })
  client.connect()
  await clock.advance(400)
  t.equal(asked, 1)
  const before = network.events.length
  paths.websocket!.is = 'open'
  client.close()
  resolve(new Response('{"session":"x","transports":[]}'))
  await clock.advance(60_000)
  t.equal(client.state, 'closed')
  t.equal(network.events.length, before, 'nothing is tried any more')
  t.equal(clock.pending, 0)
})

t.test('closed while an attach is not welcomed yet', async (t) => {
  const { client, clock, network, states } = world(t, { websocket: { is: 'open', takesMs: 100 } })
  client.connect()
  await clock.advance(50)
  client.close()
  t.equal(network.open, 0)
  await clock.advance(60_000)
  t.same(states, ['connecting', 'closed'])
  t.equal(clock.pending, 0)
})

t.test('closed while it tries another transport', async (t) => {
  const { client, clock, network } = world(t, { websocket: open(), sse: { is: 'open', takesMs: 100 } })
  client.connect()
  await clock.settle()
  const ended = outcomes(client.switchTo('sse'))
  await clock.advance(50)
  t.equal(network.probing, 1)
  client.close()
  t.equal(network.probing, 0)
  await clock.advance(60_000)
  t.equal(client.state, 'closed')
  t.equal(network.open, 0)
  t.equal(ended.length, 1, 'the switch is told')
  t.not(ended[0], 'done')
})

t.test('closed while it moves to another transport', async (t) => {
  const { client, clock, network } = world(t, { websocket: open(), sse: { is: 'open', takesMs: 100 } })
  client.connect()
  await clock.settle()
  const ended = outcomes(client.switchTo('sse'))
  await clock.advance(150)
  t.equal(network.open, 2, 'the new link waits for its welcome')
  client.close()
  await clock.advance(60_000)
  t.equal(client.state, 'closed')
  t.equal(network.open, 0)
  t.same(ended, ['closed'])
})

t.test('closed while several transports race', async (t) => {
  const silent: Path = { is: 'silent' }
  for (const first of [silent, { is: 'blocked' } satisfies Path]) {
    const { client, clock, network } = world(t, { first, second: silent, third: silent, fourth: silent })
    client.connect()
    await clock.advance(1_500)
    t.ok(network.probing > 0)
    const before = network.events.length
    client.close()
    await clock.settle()
    t.same([network.probing, network.open], [0, 0], `the first is ${first.is}`)
    await clock.advance(60_000)
    t.equal(network.events.length, before, 'nothing is tried any more')
    t.equal(clock.pending, 0)
  }
})

t.test('closed by a listener', async (t) => {
  for (const isSessionLost of [false, true]) {
    const { client, clock, network } = world(t, { websocket: open() })
    client.connect()
    await clock.advance(10)
    network.receive('stale', 1)
    // Heard in the middle of the welcome.
    client.on('stale', ({ stale }) => {
      if (!stale) client.close()
    })
    if (isSessionLost) {
      network.paths.websocket!.refuses = ['unknown-session']
      clock.after(300, () => delete network.paths.websocket!.refuses)
    }
    network.cut()
    await clock.advance(5_000)
    t.equal(client.state, 'closed')
    t.equal(network.open, 0)
    t.equal(clock.pending, 0)
    const ended = outcomes(client.channel('a:b').subscribe())
    await clock.settle()
    t.same(ended, ['closed'])
  }
})

t.test('closed for good: what is asked afterwards is refused, each time', async (t) => {
  for (const hadSession of [false, true]) {
    const { client, clock, network } = world(t, { websocket: open() })
    if (hadSession) client.connect()
    await clock.settle()
    client.close()
    const before = network.events.length
    const channel = client.channel('a:b')
    const ended = outcomes(
      channel.subscribe(),
      channel.subscribe(),
      channel.publish('x', 1),
      client.request('method'),
    )
    client.connect()
    await clock.settle()
    t.same(ended, ['closed', 'closed', 'closed', 'closed'])
    t.equal(client.stats().open, 0)
    t.equal(network.events.length, before)
    t.equal(client.state, 'closed')
  }
})

t.test('what was refused because the client is closed is not left to the next page', async (t) => {
  const kept = new Map<string, StoredPublication>()
  const { client, clock } = world(t, { websocket: open() }, { queueStore: queueOf(kept) })
  client.connect()
  await clock.settle()
  client.close()
  await t.rejects(client.channel('a:b').publish('x', 1), { code: 'closed' })
  t.equal(kept.size, 0)
})

t.test('publications that are kept stay kept when the page is left, for the next one', async (t) => {
  const page = fakePage(t)
  const kept = new Map<string, StoredPublication>()
  const first = world(t, { websocket: { is: 'silent' } }, { queueStore: queueOf(kept) })
  const ended = outcomes(first.client.channel('a:b').publish('x', 1))
  await first.clock.settle()
  t.equal(kept.size, 1)
  page.fire('pagehide', { persisted: false })
  await first.clock.settle()
  t.equal(first.client.state, 'closed')
  t.same(ended, ['closed'])
  t.equal(kept.size, 1)

  const [id] = kept.keys()
  const second = world(t, { websocket: open() }, { queueStore: queueOf(kept) })
  second.network.answer((_header, number) => ['ack', number])
  second.client.connect()
  await second.clock.settle()
  t.match(second.network.sent, [{ header: ['pub', 'a:b', 'x', id] }])
  t.equal(kept.size, 0)
})

t.test('publications that are kept are given up when the application closes the client', async (t) => {
  fakePage(t)
  const kept = new Map<string, StoredPublication>()
  const { client, clock } = world(t, { websocket: open() }, { queueStore: queueOf(kept) })
  client.connect()
  await clock.settle()
  const ended = outcomes(client.channel('a:b').publish('x', 1))
  await clock.settle()
  t.equal(kept.size, 1)
  client.close()
  await clock.settle()
  t.same(ended, ['closed'])
  t.equal(kept.size, 0)
})

t.test('a session that is lost while a switch is under way is not joined with the next', async (t) => {
  const clock = createFakeClock({ startMs: 1_000_000 })
  const paths: Record<string, Path> = {
    websocket: { is: 'open', takesMs: 10 },
    sse: { is: 'open', takesMs: 150 },
  }
  const { client, network } = world(t, paths, {}, clock)
  network.answer(([kind], number) => (kind === 'sub' ? ['ack', number] : undefined))
  const channel = client.channel('a:b')
  const ended = outcomes(channel.subscribe())
  await clock.advance(20)
  t.same(ended, ['done'])
  void outcomes(client.switchTo('sse'))
  // Longer than the switch takes: both would be under way.
  paths.websocket!.takesMs = 200
  await clock.advance(10)
  network.receive('close', 'slow-consumer')
  await clock.advance(5_000)
  t.equal(client.state, 'connected')
  t.equal(client.stats().sessions, 2)
  t.equal(network.sessions, 2, 'no third one is left at the server')
  t.same(
    network.sent.filter(({ header }) => header[0] === 'sub').map(({ session }) => session),
    network.carried.filter((session, index, all) => all.indexOf(session) === index),
    'the session that is carried has the subscription',
  )
  t.equal(channel.subscribed, true)
})

t.test('each ping settles, also those that were overtaken, or whose link went', async (t) => {
  const { client, clock, network } = world(t, { websocket: open() })
  client.connect()
  await clock.settle()
  const answered = outcomes(client.ping(), client.ping())
  await clock.settle()
  t.same(answered, ['done', 'done'])
  network.paths.websocket!.is = 'half'
  const cut = outcomes(client.ping(), client.ping())
  network.cut()
  await clock.settle()
  t.same(cut, ['link-lost', 'link-lost'])
  const offline = outcomes(client.ping())
  await clock.advance(1_000)
  const closed = outcomes(client.ping())
  client.close()
  await clock.settle()
  t.same([offline, closed], [['link-lost'], ['closed']])
})

function withResolvers<T>() {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((_resolve) => {
    resolve = _resolve
  })
  return { promise, resolve }
}
