import {
  createResponseLink,
  encodeEvents,
  encodeFrame,
  eventStreamType,
  parseEvents,
  type Bus,
  type Frame,
  type Link,
  type LinkHandler,
  type Nodes,
} from '@everwire/core'
import { createLinkPair } from '@everwire/testkit'
import t, { type Test } from 'tap'
import { channelSet } from '../src/cluster/bundle.js'
import type { EverwireOptions } from '../src/index.js'
import {
  calm,
  createRawClient,
  createWorld,
  type RawClient,
  type World,
  type WorldNode,
} from './cluster-world.js'
import { good, type NodeMessage } from './node-network.js'

interface Stage {
  world: World
  nodes: WorldNode[]
  client: RawClient
  /** The session's secret. */
  readonly secret: string
}

/** Nodes, and a client that is attached to the first of them by a stream and reads one channel of each sort. */
async function setUp(t: Test, options: Partial<EverwireOptions> = {}, count = 3): Promise<Stage> {
  const world = createWorld()
  t.teardown(() => world.close())
  const nodes: WorldNode[] = []
  for (let n = 0; n < count; n++) nodes.push(await world.start(options))
  const client = createRawClient({ world, name: 'ann' })
  client.auto = false
  client.subscribe('live:a')
  client.subscribe('history:a')
  client.attach(nodes[0]!)
  await world.until(() => isReady(client), 'the client reads')
  return {
    world,
    nodes,
    client,
    get secret() {
      return client.session!.split('.')[1]!
    },
  }
}

const isReady = ({ attached, unanswered }: RawClient) => attached && unanswered === 0

/** Attaches to a node, and waits until it is welcome there. */
async function move({ world, client }: Stage, to: WorldNode, style: 'stream' | 'sse' = 'stream') {
  client.attach(to, style)
  await world.until(() => isReady(client) && client.node === to.id, 'attached to the next node')
}

const seen = (client: RawClient, channel: string) =>
  client.readings.filter((one) => one.channel === channel).flatMap((reading) => reading.seen)

const ownersOf = ({ nodes }: { nodes: readonly WorldNode[] }) =>
  nodes.filter(({ isUp, sessions }) => isUp && sessions.length > 0).map(({ id }) => id)

/** A node of which the test says every word. */
async function joinByHand({ world }: Stage, nodeId: string): Promise<Bus & { nodes: Nodes }> {
  const bus = world.network.join()
  await bus.open({ nodeId, dedupWindowMs: 120_000, log() {} })
  return bus
}

/** Resolves while time goes on. */
async function during<Result>({ world }: Stage, what: Promise<Result>): Promise<Result> {
  await world.elapse(what)
  return await what
}

const attachFields = (session: string, more: object = {}) => ({
  v: 1,
  session,
  gen: 10,
  place: 'by-hand',
  poll: 0,
  cursor: 0,
  acked: 0,
  token: 'ann',
  ...more,
})

/** What a node says to one attach on a stream. */
function attachByHand({ context }: WorldNode, fields: object, ip?: string): Frame[] {
  const frames: Frame[] = []
  const pair = createLinkPair()
  pair.server.listen(context.accept(pair.server, { request: { ip } }))
  pair.client.listen({ receive: (frame) => frames.push(frame), drained() {}, closed() {} })
  pair.client.send([encodeFrame(['attach', fields])])
  return frames
}

/** What a node says to one poll. */
function pollByHand(
  { context }: WorldNode,
  fields: object,
  ip = '10.0.0.1',
): { frames(): Frame[]; lost(): void } {
  let text = ''
  let ended = false
  const link = createResponseLink({
    transport: 'poll',
    headers: {},
    highWaterBytes: 262_144,
    clock: context.clock,
    poll: { waitMs: 2_000 },
    response: {
      writableLength: 0,
      writeHead() {},
      write: (chunk) => (text += chunk as string) !== '',
      end() {
        ended = true
        queueMicrotask(() => link.lost())
      },
      destroy() {},
    },
  })
  const handler: LinkHandler = (link.handler = context.accept(link as Link, { request: { ip } }))
  handler.receive({ header: ['attach', fields] })
  return {
    frames: () => (ended ? parseEvents(text, { maxBytes: 65_536 }) : []),
    lost: () => link.lost(),
  }
}

/** What a node says to frames that come in a request. */
async function upByHand({ app }: WorldNode, session: string, first: number, header: Frame['header']) {
  const { payload } = await app.inject({
    method: 'POST',
    url: '/everwire/uplink',
    headers: { 'content-type': eventStreamType },
    payload: encodeEvents([
      encodeFrame(['uplink', { session, first }]),
      encodeFrame(header, '{"key":"up","ms":0}'),
    ]),
  })
  return headers(parseEvents(payload, { maxBytes: 65_536 }))
}

const headers = (frames: readonly Frame[]) => frames.map(({ header }) => header)
const codeIn = (frames: readonly Frame[]) => frames.find(({ header }) => header[0] === 'refuse')?.header[1]
const isTakeAnswer = ({ type, kind }: NodeMessage) => type === 'answer' && kind === 'take'

t.test('a session moves with its stream', async (t) => {
  t.test('with what waits in it, its channels, and its id', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const [a, b, c] = nodes as [WorldNode, WorldNode, WorldNode]
    client.lose()
    for (let n = 1; n <= 3; n++) {
      await world.elapse(c.publish('live:a', `c ${n}`))
      await world.elapse(c.publish('history:a', n))
    }
    await move(stage, b)
    for (let n = 4; n <= 6; n++) {
      await world.elapse(c.publish('live:a', `c ${n}`))
      await world.elapse(a.publish('history:a', n))
    }
    await world.until(() => seen(client, 'history:a').length === 6, 'all of it')
    t.strictSame(seen(client, 'history:a'), [1, 2, 3, 4, 5, 6])
    t.strictSame(seen(client, 'live:a'), ['c 1', 'c 2', 'c 3', 'c 4', 'c 5', 'c 6'])
    t.strictSame(ownersOf(stage), [b.id])
    t.ok(client.session!.startsWith(`${b.id}.`), 'the id names the node')
    t.strictSame([client.lost, world.violations], [[], []])
  })

  t.test('a method that ends soon replies once, over the next node', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const reply = client.request({ key: 'short', ms: 600 })
    await world.until(() => world.calls.length === 1, 'called')
    await move(stage, nodes[1]!)
    t.equal(await reply, 'reply')
    t.strictSame(
      [world.calls, client.lost, world.violations],
      [[{ key: 'short', node: nodes[0]!.id }], [], []],
    )
  })

  t.test('a method that takes longer is of unknown outcome, once, and is not called again', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const reply = client.request({ key: 'long', ms: 4_000 })
    await world.until(() => world.calls.length === 1, 'called')
    await move(stage, nodes[1]!)
    t.equal(await reply, 'outcome-unknown')
    await world.clock.advance(5_000)
    t.strictSame([world.calls.length, client.lost, world.violations], [1, [], []])
  })

  t.test('a publication in flight is stored once and acknowledged once', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    world.network.faults = { ...good, storeMs: 900 }
    const outcomes = Promise.all([1, 2, 3].map((n) => client.publish('history:a', n, `id-${n}`)))
    await world.clock.advance(100)
    client.attach(nodes[1]!)
    await world.until(() => isReady(client) && client.node === nodes[1]!.id, 'moved', 30_000)
    t.strictSame(await outcomes, ['ack', 'ack', 'ack'])
    await world.until(() => seen(client, 'history:a').length >= 3, 'all of it')
    await world.clock.advance(5_000)
    t.strictSame(seen(client, 'history:a'), [1, 2, 3])
    t.strictSame([client.lost, world.violations], [[], []])
  })

  t.test('a publication is not refused as temporary when the node before may have stored it', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const b = nodes[1]!
    world.network.faults = { ...good, storeMs: 900 }
    const outcome = client.publish('history:a', 1, 'id')
    await world.clock.advance(100)
    client.attach(b)
    await world.until(() => b.sessions.length > 0, 'moved')
    // The next node cannot repeat it.
    world.network.cut(b.id)
    await world.clock.advance(2_000)
    world.network.heal(b.id)
    await world.until(() => seen(client, 'history:a').length > 0, 'stored')
    t.equal(await outcome, 'outcome-unknown')
  })

  t.test('at most once in handoverIntervalMs', async (t) => {
    const stage = await setUp(t, { handoverIntervalMs: 3_000 })
    const { world, nodes, client } = stage
    await move(stage, nodes[1]!)
    const frames = attachByHand(nodes[2]!, attachFields(client.session!))
    await world.clock.advance(1_500)
    const [, code, , retryAfterMs] = headers(frames)[0]!
    t.equal(code, 'node-unavailable')
    t.ok((retryAfterMs as number) > 0 && (retryAfterMs as number) <= 3_000, String(retryAfterMs))
    t.ok(client.attached, 'who has it keeps it')
    await world.clock.advance(1_500)
    await move(stage, nodes[2]!)
    t.strictSame(ownersOf(stage), [nodes[2]!.id])
  })

  t.test('to nobody else: another user hears what somebody with a made-up id hears', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const [a, b] = nodes as [WorldNode, WorldNode]
    const wrong = attachByHand(b, attachFields(client.session!, { token: 'eve' }))
    const madeUp = attachByHand(b, attachFields(`${a.id}.${'a'.repeat(26)}`, { token: 'eve' }))
    await world.clock.advance(500)
    t.equal(codeIn(wrong), 'unknown-session')
    t.strictSame(headers(wrong), headers(madeUp))
    t.ok(client.attached)
    t.strictSame(ownersOf(stage), [a.id])
  })

  t.test('not when it is too large: it ends, and the client recovers by position', async (t) => {
    const stage = await setUp(t, { bundleBytes: 3_000 })
    const { world, nodes, client } = stage
    client.lose()
    for (let n = 1; n <= 5; n++) await world.elapse(nodes[2]!.publish('history:a', `${n}`.repeat(1_000)))
    client.auto = true
    client.attach(nodes[1]!)
    await world.until(() => isReady(client) && seen(client, 'history:a').length === 5, 'recovered')
    t.strictSame(client.lost, ['unknown-session'])
    t.strictSame(
      seen(client, 'history:a'),
      [1, 2, 3, 4, 5].map((n) => `${n}`.repeat(1_000)),
    )
    t.strictSame(seen(client, 'live:a'), [['gap', 'session']], 'a gap is told in the live channel')
    t.strictSame(world.violations, [])
  })
})

t.test('the answer to a take', async (t) => {
  t.test(
    'that never comes: the client is told, and nobody goes on with the session, however late',
    async (t) => {
      const stage = await setUp(t)
      const { world, nodes, client } = stage
      world.network.rule = (message) => (isTakeAnswer(message) ? 12_000 : undefined)
      client.attach(nodes[1]!)
      await world.until(() => client.lost.length > 0 || !client.attached, 'the old link is closed')
      // The client gives up by itself after a while, and asks again with the next attempt.
      client.auto = true
      await world.until(() => client.lost.length > 0, 'told', 20_000)
      t.strictSame(client.lost, ['unknown-session'])
      await world.clock.advance(30_000)
      t.equal(nodes.flatMap(({ sessions }) => sessions).length, 1, 'only the new session')
      t.strictSame(
        nodes.flatMap(({ sessions }) => sessions.map(({ token }) => token)),
        [client.session],
      )
      t.strictSame(world.violations, [])
    },
  )

  t.test('that is lost once is repeated, and the same', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const answers: string[] = []
    world.network.rule = (message) => {
      if (!isTakeAnswer(message)) return undefined
      answers.push(JSON.stringify(message.body))
      return answers.length === 1 ? 'lose' : undefined
    }
    await move(stage, nodes[1]!)
    t.equal(answers.length, 2)
    t.equal(answers[0], answers[1])
    t.strictSame([client.lost, world.violations], [[], []])
  })

  t.test('that comes twice makes one session', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    world.network.faults = { ...good, doubled: 1 }
    for (const to of [nodes[1]!, nodes[2]!, nodes[0]!]) {
      await world.clock.advance(2_000)
      await move(stage, to)
      t.strictSame(ownersOf(stage), [to.id])
    }
    t.strictSame([client.lost, world.violations], [[], []])
  })

  t.test('is for one node: the same again for it, and where it went for any other', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client, secret } = stage
    const { nodes: one } = await joinByHand(stage, 'aaaaaaaaaaaa')
    const { nodes: other } = await joinByHand(stage, 'bbbbbbbbbbbb')
    const { id } = nodes[0]!
    const ask = (from: Nodes, kind: string, body: object) =>
      during(stage, from.request(id, kind, body, 2_000))
    const channels = ['history:a', 'live:a']
    const peek = (await ask(one, 'peek', { secret })) as { userId: string; channels: string[] }
    t.strictSame({ ...peek, channels: [...peek.channels].sort() }, { version: 1, userId: 'ann', channels })
    const claim = { gen: 5, place: 'p', poll: 0, cursor: client.received, acked: 0 }
    const take = { secret, userId: 'ann', claim, channels: channelSet(channels) }
    t.strictSame(await ask(one, 'take', { ...take, channels: channelSet(['live:a']) }), { changed: true })
    t.strictSame(await ask(one, 'take', { ...take, claim: { ...claim, gen: 0 } }), { stale: 1 })
    t.strictSame(
      await ask(one, 'take', { ...take, claim: undefined }),
      { unknown: true },
      'it gives nothing away',
    )
    t.ok(client.attached, 'nothing has happened yet')
    const bundle = await ask(one, 'take', take)
    t.ok((bundle as { bundle?: object }).bundle)
    t.strictSame(await ask(one, 'take', take), bundle)
    t.strictSame(await ask(other, 'take', take), { moved: 'aaaaaaaaaaaa' })
    t.strictSame(await ask(other, 'peek', { secret }), { moved: 'aaaaaaaaaaaa' })
    t.strictSame(await ask(one, 'take', { ...take, claim: { ...claim, gen: 6 } }), { moved: 'aaaaaaaaaaaa' })
    t.notOk(client.attached)
    await world.clock.advance(6_000)
    t.strictSame(await ask(one, 'take', take), { moved: 'aaaaaaaaaaaa' }, 'kept for a while only')
    t.strictSame(await ask(other, 'peek', { secret: 'z'.repeat(26) }), { unknown: true })
    await world.clock.advance(20_000)
    t.equal(nodes[0]!.cluster.pending, 0)
  })

  t.test(
    'waits for a subscription that lands after the peek: the next node joins that channel too',
    async (t) => {
      const stage = await setUp(t)
      const { world, nodes, client } = stage
      let changed = 0
      world.network.rule = ({ type, kind, body }) => {
        if (type === 'answer' && kind === 'peek') client.subscribe('live:b')
        if (kind === 'take' && type === 'request') return 100
        if (kind === 'take' && 'changed' in (body as object)) changed++
        return undefined
      }
      await move(stage, nodes[1]!)
      t.equal(changed, 1)
      await world.elapse(nodes[2]!.publish('live:b', 'c 1'))
      await world.until(() => seen(client, 'live:b').length > 0, 'it comes')
      t.strictSame(seen(client, 'live:b'), ['c 1'])
      t.strictSame([client.lost, world.violations], [[], []])
    },
  )

  t.test('is not dropped because the client came back to the node that gives it', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const [a, b] = nodes as [WorldNode, WorldNode]
    let answers = 0
    world.network.rule = (message) => (isTakeAnswer(message) && answers++ === 0 ? 'lose' : undefined)
    client.attach(b)
    await world.until(() => answers === 1, 'the answer is under way')
    client.auto = true
    client.attach(a)
    await world.until(() => isReady(client), 'attached again', 20_000)
    t.strictSame([client.lost, world.violations], [[], []])
  })
})

t.test('a drain', async (t) => {
  t.test('leaves every session elsewhere, also those without a link', async (t) => {
    const stage = await setUp(t, { drainMs: 10_000 })
    const { world, nodes, client } = stage
    const [a, b, c] = nodes as [WorldNode, WorldNode, WorldNode]
    const silent = createRawClient({ world, name: 'bob' })
    const polling = createRawClient({ world, name: 'cid' })
    for (const [one, style] of [
      [silent, 'stream'],
      [polling, 'poll'],
    ] as const) {
      one.subscribe('live:a')
      one.subscribe('history:a')
      one.attach(a, style)
      await world.until(() => isReady(one), 'reads')
    }
    silent.auto = false
    silent.lose()
    client.auto = true
    const publish = async (from: number, to: number) => {
      for (let n = from; n <= to; n++) {
        await world.elapse(c.publish('live:a', `c ${n}`))
        await world.elapse(b.publish('history:a', n))
      }
    }
    await publish(1, 3)
    const report = a.app.everwire.drain()
    await publish(4, 8)
    const { handedOver, recovered } = await during(stage, report)
    t.strictSame({ handedOver, recovered }, { handedOver: 3, recovered: 0 })
    await world.elapse(a.close())
    await publish(9, 10)
    const old = silent.session!
    t.ok(old.startsWith(a.id), 'it has heard nothing')
    silent.attach(old.length % 2 ? b : c)
    const clients = [client, silent, polling]
    await world.until(
      () => clients.every((one) => isReady(one) && seen(one, 'history:a').length === 10),
      'all',
    )
    for (const one of clients) {
      t.strictSame(seen(one, 'history:a'), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], one.name)
      t.strictSame(
        seen(one, 'live:a'),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) => `c ${n}`),
        one.name,
      )
      t.strictSame(one.lost, [], one.name)
    }
    t.strictSame(world.violations, [])
  })

  t.test(
    'by notes: an old id leads there on every node, also when the next node drains after it',
    async (t) => {
      const stage = await setUp(t, { drainMs: 10_000 }, 4)
      const { world, nodes, client } = stage
      client.lose('both')
      const id = client.session!
      for (const node of nodes.slice(0, 3)) {
        const { recovered } = await during(stage, node.app.everwire.drain())
        t.equal(recovered, 0)
        await world.elapse(node.close())
        await world.clock.advance(100)
      }
      t.equal(client.session, id)
      await move(stage, nodes[3]!)
      t.strictSame([client.lost, world.violations], [[], []])
    },
  )

  for (const hook of ['authenticate', 'negotiate'] as const)
    t.test(`loses nobody who is asked by ${hook} until the node has closed`, async (t) => {
      let open = () => {}
      let isOpen = Promise.resolve()
      const wait = async () => await isOpen
      const options: Partial<EverwireOptions> =
        hook === 'negotiate'
          ? { negotiate: wait }
          : { authenticate: ({ token }) => wait().then(() => ({ userId: token ?? null })) }
      const stage = await setUp(t, { drainMs: 5_000, ...options })
      const { world, nodes, client } = stage
      isOpen = new Promise((resolve) => (open = resolve))
      client.attach(nodes[0]!)
      await world.clock.advance(100)
      await during(stage, nodes[0]!.close())
      open()
      await calm(world.clock)
      client.auto = true
      await world.until(() => isReady(client), 'attached elsewhere')
      t.strictSame([client.lost, world.violations], [[], []])
    })

  for (const style of ['stream', 'poll'] as const)
    t.test(`leads on until the node is gone, however long it takes to close: by ${style}`, async (t) => {
      const stage = await setUp(t, { drainMs: 5_000 }, 2)
      const { world, nodes, client } = stage
      const bus = world.network.join()
      let close = () => {}
      const isOver = new Promise<void>((resolve) => (close = resolve))
      const slow = await world.start({
        drainMs: 5_000,
        bus: { ...bus, nodes: bus.nodes, close: () => isOver.then(() => bus.close()) },
      })
      await move(stage, slow)
      client.lose('both')
      const closing = slow.close()
      await world.until(() => ownersOf({ nodes }).length > 0, 'given')
      await world.clock.advance(500)
      t.ok(client.session!.startsWith(slow.id), 'it has heard nothing')
      client.attach(
        nodes.find(({ sessions }) => sessions.length === 0)!,
        style,
      )
      await world.until(() => isReady(client) || client.lost.length > 0, 'attached')
      t.strictSame([client.lost, world.violations], [[], []])
      close()
      await during(stage, closing)
    })

  t.test('leads also those on who come to a node that was started after it', async (t) => {
    const stage = await setUp(t, { drainMs: 5_000 })
    const { world, nodes, client } = stage
    client.lose()
    await during(stage, nodes[0]!.app.everwire.drain())
    await world.elapse(nodes[0]!.close())
    const begun = await world.start()
    // It has asked the others by then.
    await world.clock.advance(1_000)
    await move(stage, begun)
    t.strictSame([client.lost, world.violations], [[], []])
  })

  t.test('two at once: notes that come late do not lead to a node that is gone', async (t) => {
    const stage = await setUp(t, { drainMs: 10_000 }, 4)
    const { world, nodes, client, secret } = stage
    const [a, b, c, d] = nodes as [WorldNode, WorldNode, WorldNode, WorldNode]
    // It went from a to b with an attempt, and goes on from there without one; what a says of it comes last.
    await move(stage, b)
    client.lose()
    const blocker = createRawClient({ world, name: 'bob' })
    blocker.auto = false
    blocker.attach(a)
    await world.until(() => isReady(blocker), 'attached')
    world.network.rule = ({ kind, from }) => (kind === 'give' && from === a.id ? 'lose' : undefined)
    const first = a.app.everwire.drain()
    await world.clock.advance(100)
    t.equal((await during(stage, b.app.everwire.drain())).recovered, 0)
    await world.elapse(b.close())
    await during(stage, first)
    await world.elapse(a.close())
    await world.clock.advance(100)
    await move(stage, c.sessions.some((one) => one.secret === secret) ? d : c)
    t.strictSame([client.lost, world.violations], [[], []])
  })

  t.test('leads also those on who were about to take from the node that left', async (t) => {
    const stage = await setUp(t, { drainMs: 5_000 })
    const { world, nodes, client } = stage
    const [a, b, c] = nodes as [WorldNode, WorldNode, WorldNode]
    client.lose()
    // What c asks comes when a is gone.
    world.network.rule = ({ kind, type, from }) =>
      kind === 'take' && type === 'request' && from === c.id ? 5_000 : undefined
    const stream = attachByHand(c, attachFields(client.session!, { cursor: client.received }))
    const isAsked = () => world.network.sent.some(({ kind, from }) => kind === 'take' && from === c.id)
    await world.until(isAsked, 'c asks')
    t.equal((await during(stage, a.app.everwire.drain())).recovered, 0)
    await world.elapse(a.close())
    t.strictSame(ownersOf(stage), [b.id])
    world.network.rule = undefined
    await world.clock.advance(1_000)
    t.equal(headers(stream)[0]![0], 'welcome')
    t.strictSame([ownersOf(stage), world.violations], [[c.id], []])
  })

  t.test(
    'a session whose newest attempt was never accepted where it is leads on from there all the same',
    async (t) => {
      for (const count of [2, 3]) {
        const stage = await setUp(t, { drainMs: 5_000, handoverIntervalMs: 0 }, count)
        const { world, nodes, client, secret } = stage
        const [a, b] = nodes as [WorldNode, WorldNode]
        const id = client.session!
        // The link dies while the session is on its way.
        world.network.rule = (message) => (isTakeAnswer(message) ? 200 : undefined)
        const pair = createLinkPair()
        pair.server.listen(b.context.accept(pair.server, { request: {} }))
        pair.client.send([encodeFrame(['attach', attachFields(id, { gen: 4, cursor: client.received })])])
        await world.until(() => a.sessions.length === 0, 'on its way')
        pair.cut()
        await world.until(() => b.sessions.length > 0, 'there')
        t.ok(b.sessions[0]!.attachState.gen < 4)
        const { recovered } = await during(stage, b.app.everwire.drain())
        t.equal(recovered, 0, `${count} nodes`)
        await world.elapse(b.close())
        await world.clock.advance(100)
        t.equal(client.session, id)
        client.auto = true
        client.attach(a)
        await world.until(() => isReady(client), 'attached')
        t.ok(client.session!.endsWith(secret))
        t.strictSame([client.lost, world.violations], [[], []])
      }
    },
  )

  t.test('the draining node opens and takes nothing', async (t) => {
    const stage = await setUp(t, { drainMs: 5_000 })
    const { world, nodes, client } = stage
    const [a, b] = nodes as [WorldNode, WorldNode]
    world.network.rule = ({ kind }) => (kind === 'give' ? 'lose' : undefined)
    const elsewhere = createRawClient({ world, name: 'bob' })
    elsewhere.attach(b)
    await world.until(() => isReady(elsewhere), 'attached')
    const report = a.app.everwire.drain()
    await world.clock.advance(100)
    const { session: _none, ...fresh } = attachFields('')
    const opened = attachByHand(a, { ...fresh, gen: 1 })
    const taken = attachByHand(a, attachFields(elsewhere.session!, { token: 'bob' }))
    const post = a.app.inject({
      method: 'POST',
      url: '/everwire/session',
      headers: { 'content-type': 'application/json' },
      payload: '{"v":1}',
    })
    await world.clock.advance(100)
    t.equal(codeIn(opened), 'server-closing')
    t.equal(codeIn(taken), 'server-closing')
    t.equal((await post).statusCode, 503)
    t.strictSame(
      b.sessions.map(({ userId }) => userId),
      ['bob'],
    )
    t.ok(client.attached, 'who is here is served')
    const { handedOver, recovered } = await during(stage, report)
    t.strictSame({ handedOver, recovered }, { handedOver: 0, recovered: 1 })
    await world.clock.advance(100)
    t.strictSame(client.lost, ['server-closing'], 'at the deadline it ends')
  })

  t.test('waits for a session that is on its way', async (t) => {
    const stage = await setUp(t, { drainMs: 5_000 })
    const { world, nodes, client } = stage
    const [a, b] = nodes as [WorldNode, WorldNode]
    world.network.rule = (message) => (isTakeAnswer(message) && message.to === b.id ? 300 : undefined)
    client.auto = true
    client.attach(b)
    await world.until(() => a.sessions.length === 0, 'on its way')
    const report = await during(stage, b.app.everwire.drain())
    t.equal(report.recovered, 0)
    await world.elapse(b.close())
    await world.until(() => isReady(client) && client.node !== b.id, 'elsewhere')
    t.strictSame([client.lost, world.violations], [[], []])
  })

  t.test(
    'readyz and livez: a node is ready until it drains or is cut off, and lives all along',
    async (t) => {
      const stage = await setUp(t)
      const { world, nodes, client } = stage
      const [a, b] = nodes as [WorldNode, WorldNode]
      const statuses = async (node: WorldNode) => {
        const ask = async (path: string) => (await node.app.inject(`/everwire/${path}`)).statusCode
        return [await ask('readyz'), await ask('livez')]
      }
      t.strictSame(await statuses(a), [200, 200])
      world.network.cut(a.id)
      await world.clock.advance(1_900)
      t.strictSame(await statuses(a), [200, 200], 'a short cut is none')
      await world.clock.advance(200)
      t.strictSame(await statuses(a), [503, 200])
      t.ok(client.attached, 'its clients are kept')
      world.network.heal(a.id)
      await world.clock.advance(100)
      t.strictSame(await statuses(a), [200, 200])
      void b.app.everwire.drain({ noticeMs: 5_000 })
      t.strictSame(await statuses(b), [503, 200])
      await world.clock.advance(10_000)
    },
  )
})

t.test('a relay', async (t) => {
  t.test('is bounded for each owner and for each address', async (t) => {
    for (const [bounds, addresses] of [
      [{ maxRelays: 1 }, ['10.0.0.1', '10.0.0.2']],
      [{ maxRelaysPerAddress: 1 }, ['10.0.0.1', '10.0.0.1']],
    ] as const) {
      const stage = await setUp(t, bounds)
      const { world, nodes, client } = stage
      const fields = (gen: number) =>
        attachFields(client.session!, { gen, waitMs: 2_000, cursor: client.received })
      const held = pollByHand(nodes[1]!, fields(10), addresses[0])
      await world.clock.advance(100)
      t.strictSame(held.frames(), [], 'held')
      const refused = pollByHand(nodes[1]!, fields(11), addresses[1])
      await world.clock.advance(100)
      const [kind, code, , retryAfterMs] = headers(refused.frames())[0]!
      t.strictSame([kind, code], ['refuse', 'rate-limited'])
      t.ok((retryAfterMs as number) > 0)
      await world.clock.advance(3_000)
      t.equal(headers(held.frames())[0]![0], 'welcome')
      const later = pollByHand(nodes[1]!, fields(12), addresses[1])
      await world.clock.advance(3_000)
      t.equal(headers(later.frames())[0]![0], 'welcome')
      later.lost()
      await world.clock.advance(50_000)
      for (const { cluster } of nodes) t.equal(cluster.pending, 0)
    }
  })

  t.test('to a node that is silent is refused for a time, to one that is gone for good', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const id = client.session!
    nodes[0]!.crash()
    const early = pollByHand(nodes[1]!, attachFields(id))
    const earlyStream = attachByHand(nodes[1]!, attachFields(id, { gen: 11 }))
    await world.clock.advance(1_000)
    t.equal(codeIn(early.frames()), 'node-unavailable')
    t.equal(codeIn(earlyStream), 'node-unavailable')
    await world.clock.advance(6_000)
    const late = pollByHand(nodes[1]!, attachFields(id))
    const lateStream = attachByHand(nodes[1]!, attachFields(id, { gen: 12 }))
    await world.clock.advance(100)
    t.equal(codeIn(late.frames()), 'unknown-session')
    t.equal(codeIn(lateStream), 'unknown-session')
  })

  t.test('follows a session that moved', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const [a, b, c] = nodes as [WorldNode, WorldNode, WorldNode]
    const old = client.session!
    await move(stage, b)
    const uplink = await during(stage, upByHand(c, old, 3, ['req', 'work']))
    t.strictSame(uplink, [['seen', 3]])
    t.equal(b.cluster.pending + a.cluster.pending > 0, true, 'it is known where it went')
    const followed = pollByHand(c, attachFields(old, { gen: 20, cursor: client.received }))
    await world.clock.advance(100)
    t.equal(headers(followed.frames())[0]![0], 'welcome')
  })

  t.test('that is answered `moved` to the asker itself is over at once', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const b = nodes[1]!
    await world.clock.advance(2_000)
    // The poll is slow on its way; the stream of a later attempt takes the session to the same node meanwhile.
    world.network.rule = ({ kind, type }) => (kind === 'poll' && type === 'request' ? 600 : undefined)
    const poll = pollByHand(b, attachFields(client.session!, { cursor: client.received, waitMs: 2_000 }))
    await world.clock.advance(50)
    const stream = attachByHand(b, attachFields(client.session!, { gen: 11, cursor: client.received }))
    await world.clock.advance(400)
    t.equal(headers(stream)[0]![0], 'welcome')
    await world.clock.advance(400)
    t.ok(poll.frames().length > 0, 'answered')
    t.equal(headers(poll.frames())[0]![0], 'refuse')
    // The same for frames on their way up.
    await world.clock.advance(2_000)
    const c = nodes[2]!
    world.network.rule = ({ kind, type }) => (kind === 'uplink' && type === 'request' ? 600 : undefined)
    const up = upByHand(c, client.session!, 3, ['req', 'work'])
    await calm(world.clock)
    const next = attachByHand(c, attachFields(client.session!, { gen: 12, cursor: client.received }))
    await world.clock.advance(400)
    t.equal(headers(next)[0]![0], 'welcome')
    await world.clock.advance(400)
    t.match(await during(stage, up), [['refuse', 'node-unavailable']])
    t.notOk(world.network.sent.some(({ from, to }) => from === to))
  })

  t.test('is not told that a session is lost which came here from a node that is gone since', async (t) => {
    const stage = await setUp(t, { drainMs: 5_000 })
    const { world, nodes, client } = stage
    const [a, b, c] = nodes as [WorldNode, WorldNode, WorldNode]
    const old = client.session!
    await move(stage, b)
    client.lose()
    // So that the next drain leads to c.
    await during(stage, a.app.everwire.drain())
    // Where a says that it went is old when it is heard.
    const isAnswer = ({ kind, type }: NodeMessage) => type === 'answer' && /^(poll|uplink)$/.test(kind)
    world.network.rule = (message) => (isAnswer(message) ? 2_000 : undefined)
    const fields = attachFields(old, { cursor: client.received })
    const poll = pollByHand(c, fields)
    const up = upByHand(c, old, 3, ['req', 'work'])
    await world.clock.advance(100)
    t.equal((await during(stage, b.app.everwire.drain())).recovered, 0)
    await world.elapse(b.close())
    await world.clock.advance(100)
    t.strictSame([ownersOf(stage), poll.frames()], [[c.id], []], 'the session is there first')
    t.match(await during(stage, up), [['refuse', 'node-unavailable']])
    await world.clock.advance(2_000)
    t.equal(codeIn(poll.frames()), 'node-unavailable')
    const again = pollByHand(c, { ...fields, gen: 11 })
    await world.clock.advance(3_000)
    t.equal(headers(again.frames())[0]![0], 'welcome')
    t.strictSame([client.lost, world.violations], [[], []])
  })

  t.test('is offered what the node says that it came to', async (t) => {
    const stage = await setUp(t, {
      negotiate: ({ request, transports: [name] }) => [
        { name: name!, offered: true, reason: (request as { ip?: string }).ip ?? 'stream' },
      ],
    })
    const { world, nodes, client } = stage
    const poll = pollByHand(nodes[1]!, attachFields(client.session!, { cursor: client.received }), '10.0.0.7')
    await world.clock.advance(100)
    t.match(headers(poll.frames())[0], [
      'welcome',
      { transports: [{ offered: true, reason: '10.0.0.7', rank: 0 }] },
    ])
  })

  t.test('that nobody waits for any more when the session arrives does not take its link', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client, secret } = stage
    const b = nodes[1]!
    const { nodes: hand } = await joinByHand(stage, 'hand')
    world.network.rule = (message) => (isTakeAnswer(message) ? 300 : undefined)
    const moved = move(stage, b)
    await world.clock.advance(100)
    const request = attachFields(client.session!, { cursor: client.received, waitMs: 2_000 })
    const question = { id: 'p', secret, transport: 'poll', request, identity: { userId: 'ann', claims: {} } }
    const answer = hand.request(b.id, 'poll', question, 10_000)
    await world.clock.advance(100)
    hand.tell('unpoll', 'p', b.id)
    await moved
    t.strictSame(await during(stage, answer), { frames: [] })
    t.strictSame([client.attached, b.sessions[0]!.transport], [true, 'stream'])
  })

  t.test('is not sent on to the next owner when nobody waits any more', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const [a, b, c] = nodes as [WorldNode, WorldNode, WorldNode]
    const old = client.session!
    await move(stage, b)
    client.lose()
    // What a says of where the session went is on its way when the client gives up.
    world.network.rule = ({ kind, type }) => (type === 'answer' && kind === 'poll' ? 500 : undefined)
    const before = world.network.sent.length
    const poll = pollByHand(c, attachFields(old, { cursor: client.received }))
    await world.clock.advance(200)
    poll.lost()
    await world.clock.advance(1_000)
    const polls = world.network.sent.slice(before).filter(({ kind }) => kind === 'poll')
    t.strictSame(
      polls.map(({ to }) => to),
      [a.id],
    )
    t.equal(b.sessions[0]!.transport, undefined)
  })

  t.test('an answer tells nobody that nobody waits', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const poll = pollByHand(nodes[1]!, attachFields(client.session!, { cursor: client.received }))
    await world.clock.advance(100)
    t.equal(headers(poll.frames())[0]![0], 'welcome')
    t.strictSame(
      world.network.sent.filter(({ kind }) => kind === 'unpoll'),
      [],
    )
  })
})

t.test('a node that was cut off', async (t) => {
  t.test('tells what it missed of a publisher before the first that it hears of it', async (t) => {
    const stage = await setUp(t)
    const { world, nodes, client } = stage
    const [a, b] = [nodes[0]!, nodes[1]!]
    world.network.cut(a.id)
    await during(stage, b.publish('live:a', 'lost'))
    await world.clock.advance(good.delayMs)
    world.network.heal(a.id)
    // Overtakes what the node asks the others now that it is back.
    world.network.faults = { ...good, delayMs: 0 }
    await during(stage, b.publish('live:a', 'late'))
    world.network.faults = good
    await world.until(() => seen(client, 'live:a').includes('late'), 'heard')
    await world.clock.advance(100)
    await move(stage, b)
    t.strictSame(seen(client, 'live:a'), [['gap', 'bus'], 'late'])
    t.strictSame(world.violations, [])
  })
})

t.test('where sessions are found', async (t) => {
  t.test('the newest id leads there, however many nodes the session has seen', async (t) => {
    const stage = await setUp(t, { handoverIntervalMs: 0 }, 6)
    const { nodes, client, world } = stage
    for (const node of nodes.slice(1)) await move(stage, node)
    await move(stage, nodes[0]!)
    t.strictSame([client.lost, world.violations], [[], []])
  })

  t.test('here, when they came while it was asked what the client is offered', async (t) => {
    let answer = () => {}
    let asked = false
    const stage = await setUp(
      t,
      {
        drainMs: 5_000,
        async negotiate({ request }) {
          if ((request as { ip?: string }).ip !== 'slow') return undefined
          asked = true
          await new Promise<void>((resolve) => (answer = resolve))
          return undefined
        },
      },
      2,
    )
    const { world, nodes, client } = stage
    const [a, b] = nodes as [WorldNode, WorldNode]
    client.lose()
    const fields = attachFields(client.session!, { cursor: client.received })
    const stream = attachByHand(b, fields, 'slow')
    await world.until(() => asked, 'the hook was asked')
    t.equal((await during(stage, a.app.everwire.drain())).recovered, 0)
    await world.elapse(a.close())
    await world.clock.advance(100)
    answer()
    await world.clock.advance(100)
    t.equal(headers(stream)[0]![0], 'welcome')
    t.strictSame([client.lost, world.violations], [[], []])
  })

  t.test('notes of a node that drains do not lead back', async (t) => {
    const stage = await setUp(t, { handoverIntervalMs: 0, drainMs: 5_000 })
    const { world, nodes, client } = stage
    const [a, b, c] = nodes as [WorldNode, WorldNode, WorldNode]
    await move(stage, b)
    await move(stage, c)
    await during(stage, a.app.everwire.drain())
    await world.elapse(a.close())
    await world.clock.advance(100)
    await move(stage, b)
    t.strictSame([client.lost, world.violations], [[], []])
  })
})
