import type { Bus, LiveListener } from '@everwire/core'
import { createFakeClock } from '@everwire/testkit'
import t, { type Test } from 'tap'
import { memoryBus } from '../src/index.js'
import { range, startNode } from './memory-transport.js'

t.test('recovery', async (t) => {
  const ack = (frame: { header: readonly unknown[] }) => frame.header.slice(2) as [string, number]

  t.test('a position gets what came after it, in order, however far back', async (t) => {
    const { app, connect } = await startNode(t, { ringSize: 5 })
    app.everwire.channel('h:*', { history: { size: 1_000 }, subscribe: true })
    app.everwire.channel('other:*', { history: {}, subscribe: true })
    const first = await connect()
    const [epoch, offset] = ack(await first.ask(['sub', 'h:1']))
    for (const n of range(1, 250)) {
      await app.everwire.publish('h:1', 'n', n)
      await app.everwire.publish(`other:${n}`, 'n', n)
    }
    for (const back of [offset, offset + 1]) {
      const peer = await connect()
      t.strictSame(ack(await peer.ask(['sub', 'h:1', epoch, back])), [epoch, back])
      for (let turn = 0; turn < 50 && peer.seen.length < 250; turn++) await peer.ask(['req', 'none'])
      t.strictSame(
        peer.seen.filter(([kind]) => kind === 'gap'),
        [],
      )
      t.equal(peer.seen.at(-1)?.[1], 250)
      t.ok(chained(peer.frames, back), 'each says the one before it')
    }
  })

  t.test('catching up while publications flow skips nothing', async (t) => {
    const { app, connect, clock } = await startNode(t, { ringSize: 3 })
    app.everwire.channel('h:*', { history: { size: 5_000 }, subscribe: true })
    const [epoch, offset] = ack(await (await connect()).ask(['sub', 'h:1']))
    let n = 0
    const more = async (count: number) => {
      for (const last = n + count; n < last;) await app.everwire.publish('h:1', 'n', ++n)
    }
    await more(300)
    const peers = await Promise.all(range(1, 20).map(() => connect()))
    for (const peer of peers) peer.send(['sub', 'h:1', epoch, offset])
    for (let turn = 1; turn <= 100; turn++) {
      await more(5)
      await clock.settle()
      for (const peer of peers) peer.send(['seen', peer.frames.length])
    }
    for (const peer of peers) {
      t.strictSame(
        peer.seen.map(([, value]) => value),
        range(1, n),
      )
      t.ok(chained(peer.frames.slice(1), offset))
    }
  })

  t.test('a storm of readers is one read of the history', async (t) => {
    const bus = memoryBus()
    let reads = 0
    const counted: Bus = {
      ...bus,
      read: (...args) => {
        if ('after' in args[2]) reads++
        return bus.read(...args)
      },
    }
    const { app, connect, clock } = await startNode(t, { bus: counted, ringSize: 1 })
    app.everwire.channel('h:*', { history: {}, subscribe: true })
    const [epoch, offset] = ack(await (await connect()).ask(['sub', 'h:1']))
    for (const n of range(1, 50)) await app.everwire.publish('h:1', 'n', n)
    const peers = await Promise.all(range(1, 100).map(() => connect()))
    for (const peer of peers) peer.send(['sub', 'h:1', epoch, offset])
    for (let turn = 1; turn <= 10; turn++) await clock.settle()
    t.ok(peers.every(({ seen }) => seen.length === 50))
    t.equal(reads, 1)
  })

  t.test('what retention removed is told as expired, and only that', async (t) => {
    const { app, connect } = await startNode(t, { ringSize: 1 })
    app.everwire.channel('h:*', { history: { size: 3 }, subscribe: true })
    const [epoch, offset] = ack(await (await connect()).ask(['sub', 'h:1']))
    for (const n of range(1, 10)) await app.everwire.publish('h:1', 'n', n)
    const peer = await connect()
    await peer.ask(['sub', 'h:1', epoch, offset])
    await peer.ask(['req', 'none'])
    t.strictSame(peer.seen, [
      ['gap', 'expired'],
      ['n', 8],
      ['n', 9],
      ['n', 10],
    ])
  })

  t.test('an idle channel tells no gap, whatever its neighbours on the bus do', async (t) => {
    const clock = createFakeClock()
    const { app, connect } = await startNode(t, { clock, bus: memoryBus({ partitions: 1, clock }) })
    app.everwire.channel('h:*', { history: { ttlMs: 1_000 }, subscribe: true })
    const first = await connect()
    const position = ack(await first.ask(['sub', 'h:idle']))
    const [epoch, used] = ack(await first.ask(['sub', 'h:expired']))
    await app.everwire.publish('h:expired', 'n', 1)
    await first.ask(['unsub', 'h:idle'])
    await first.ask(['unsub', 'h:expired'])
    await clock.advance(2_000)
    for (const n of range(1, 20)) await app.everwire.publish('h:busy', 'n', n)
    const second = await connect()
    await second.ask(['sub', 'h:idle', ...position])
    // It had read the one publication before that expired.
    await second.ask(['sub', 'h:expired', epoch, used + 1])
    await app.everwire.publish('h:idle', 'n', 'idle')
    await app.everwire.publish('h:expired', 'n', 'expired')
    await second.ask(['req', 'none'])
    t.strictSame(second.seen, [
      ['n', 'idle'],
      ['n', 'expired'],
    ])
    t.ok(
      chained(
        second.frames.filter(({ header: [, channel] }) => channel === 'h:idle'),
        position[1],
      ),
    )
  })

  t.test('more than maxRecover is told as limit', async (t) => {
    const { app, connect } = await startNode(t, { ringSize: 2 })
    app.everwire.channel('h:*', { history: { size: 1_000 }, subscribe: true, maxRecover: 100 })
    const [epoch, offset] = ack(await (await connect()).ask(['sub', 'h:1']))
    for (const n of range(1, 500)) await app.everwire.publish('h:1', 'n', n)
    const peer = await connect()
    await peer.ask(['sub', 'h:1', epoch, offset])
    await peer.ask(['req', 'none'])
    t.equal(peer.seen.filter(([kind]) => kind === 'gap').length, 1)
    t.strictSame(peer.seen[100], ['gap', 'limit'])
    t.equal(peer.seen.at(-1)?.[1], 500)
  })

  t.test('a position of another epoch, or ahead of this one, is told as epoch', async (t) => {
    const { app, connect } = await startNode(t)
    app.everwire.channel('h:*', { history: {}, subscribe: true })
    await app.everwire.publish('h:1', 'n', 1)
    const peer = await connect()
    const [epoch] = ack(await peer.ask(['sub', 'h:1', 'elsewhere', 1]))
    await peer.ask(['sub', 'h:1', epoch, 1_000])
    t.strictSame(peer.seen, [
      ['gap', 'epoch'],
      ['gap', 'epoch'],
    ])
  })

  t.test(
    'a position between two publications, as another node may tell it, sees the chain whole',
    async (t) => {
      const { app, connect } = await startNode(t, { bus: memoryBus({ partitions: 1 }) })
      app.everwire.channel('h:*', { history: {}, subscribe: true })
      const first = await connect()
      const [epoch, start] = ack(await first.ask(['sub', 'h:1']))
      for (const n of range(1, 20)) await app.everwire.publish('h:2', 'n', n)
      const early = await connect()
      t.strictSame(ack(await early.ask(['sub', 'h:1', epoch, start + 20])), [epoch, start + 20])
      await app.everwire.publish('h:1', 'n', 1)
      const late = await connect()
      await late.ask(['sub', 'h:1', epoch, start + 20])
      for (const peer of [first, early, late]) {
        await peer.ask(['req', 'none'])
        t.strictSame(peer.seen, [['n', 1]])
      }
      t.ok(chained(first.frames, start))
      t.ok(chained(early.frames, start + 20))
      t.ok(chained(late.frames, start + 20))
    },
  )

  t.test('the publisher that is left out still sees the chain whole', async (t) => {
    for (const channel of ['h:1', 'l:1']) {
      const { app, connect } = await startNode(t)
      app.everwire.channel('h:*', { history: {}, subscribe: true })
      app.everwire.channel('l:*', { subscribe: true })
      const [one, two] = [await connect({ token: 'one' }), await connect({ token: 'two' })]
      for (const peer of [one, two]) await peer.ask(['sub', channel])
      const [except] = app.everwire.sessions('one')
      for (const n of range(1, 6))
        await app.everwire.publish(channel, 'n', n, n % 2 === 0 ? { except: except! } : {})
      await one.ask(['req', 'none'])
      await two.ask(['req', 'none'])
      t.strictSame(
        [one.seen, two.seen].map((seen) => seen.map(([, value]) => value)),
        [
          [1, 3, 5],
          [1, 2, 3, 4, 5, 6],
        ],
      )
      t.ok(chained(one.frames), 'with what it does not show')
    }
  })
})

t.test('live losses', async (t) => {
  /** A reader of a live channel, and the bus as that channel hears it. */
  const listen = async (t: Test) => {
    let listener: LiveListener | undefined
    const bus: Bus = {
      ...memoryBus(),
      listen: (_channel, given) => {
        listener = given
        return Promise.resolve(() => {})
      },
    }
    const { app, connect } = await startNode(t, { bus })
    app.everwire.channel('l:*', { subscribe: true })
    const peer = await connect()
    await peer.ask(['sub', 'l:1'])
    return {
      heard: (run: string, number: number, previous: number) =>
        listener!.publication({ run, number, previous, event: run, data: String(number) }),
      gap: (run?: string, number = 0) => listener!.gap(run === undefined ? undefined : { run, number }),
      async seen() {
        await peer.ask(['req', 'none'])
        return peer.seen
      },
    }
  }

  t.test('what numbers show is told once, also where the bus has told it before', async (t) => {
    const { heard, gap, seen } = await listen(t)
    heard('a', 1, 0)
    heard('a', 3, 2)
    gap('a', 5)
    heard('a', 6, 5)
    t.strictSame(await seen(), [
      ['a', 1],
      ['gap', 'bus'],
      ['a', 3],
      ['gap', 'bus'],
      ['a', 6],
    ])
  })

  t.test('a loss after a gap is told again', async (t) => {
    const { heard, gap, seen } = await listen(t)
    heard('a', 1, 0)
    gap('a', 2)
    heard('a', 4, 3)
    heard('a', 5, 4)
    t.strictSame(await seen(), [
      ['a', 1],
      ['gap', 'bus'],
      ['gap', 'bus'],
      ['a', 4],
      ['a', 5],
    ])
  })

  t.test("one run's gap is no other's", async (t) => {
    const { heard, gap, seen } = await listen(t)
    heard('a', 1, 0)
    heard('b', 1, 0)
    gap('a', 2)
    // A node that is gone cannot be asked how far it came.
    gap()
    heard('b', 3, 2)
    t.strictSame(await seen(), [
      ['a', 1],
      ['b', 1],
      ['gap', 'bus'],
      ['gap', 'bus'],
      ['gap', 'bus'],
      ['b', 3],
    ])
  })
})

t.test('ids', async (t) => {
  t.test('the same id by two users, or in two channels, is stored twice', async (t) => {
    const { app, connect } = await startNode(t, { bus: memoryBus({ partitions: 1 }) })
    app.everwire.channel('h:*', { history: {}, subscribe: true, publish: true })
    const [alice, bob] = [await connect({ token: 'alice' }), await connect({ token: 'bob' })]
    const offsets: unknown[] = []
    for (const peer of [alice, bob])
      for (const channel of ['h:1', 'h:2', 'h:1'])
        offsets.push((await peer.ask(['pub', channel, 'e', 'same'], '1')).header[3])
    for (const channel of ['h:1', 'h:2', 'h:1'])
      offsets.push((await app.everwire.publish(channel, 'e', 1, { id: 'same' }))?.offset)
    t.strictSame(offsets, [1, 2, 1, 3, 4, 3, 5, 6, 5])
  })

  t.test('a retry from the next session of the same user is recognised', async (t) => {
    const { app, connect } = await startNode(t)
    app.everwire.channel('h:*', { history: {}, publish: true })
    const first = await (await connect({ token: 'alice' })).ask(['pub', 'h:1', 'e', 'id'], '1')
    const again = await (await connect({ token: 'alice' })).ask(['pub', 'h:1', 'e', 'id', 1], '1')
    t.strictSame(again.header.slice(2), first.header.slice(2))
  })

  t.test('a retry of a live publication is refused: it may have arrived', async (t) => {
    const { app, connect } = await startNode(t)
    app.everwire.channel('l:*', { publish: true })
    const peer = await connect()
    t.equal((await peer.ask(['pub', 'l:1', 'e', 'id', 1], '1')).header[2], 'outcome-unknown')
  })
})

t.test('rules', async (t) => {
  t.test('what no rule allows is denied', async (t) => {
    const { app, connect } = await startNode(t)
    app.everwire.channel('closed:*', {})
    app.everwire.channel('h:*', { history: {} })
    const peer = await connect()
    const codes: unknown[] = []
    for (const header of [
      ['sub', 'closed:1'],
      ['pub', 'closed:1', 'e'],
      ['sub', 'nothing:1'],
      ['pub', 'nothing:1', 'e'],
      ['sub', '@me'],
      ['req', 'nothing'],
    ] as const)
      codes.push((await peer.ask(header as unknown as ['sub', string])).header[2])
    codes.push((await peer.ask(['req', 'everwire:history'], '{"channel":"h:1"}')).header[2])
    t.strictSame(codes, [
      'forbidden',
      'forbidden',
      'unknown-channel',
      'unknown-channel',
      'forbidden',
      'unknown-method',
      'forbidden',
    ])
  })

  t.test('the most exact pattern wins', async (t) => {
    const { app, connect } = await startNode(t)
    app.everwire.channel('a:*', { subscribe: false })
    app.everwire.channel('a:b:*', { subscribe: true })
    app.everwire.channel('a:b:secret', { subscribe: false })
    const peer = await connect()
    const kinds: unknown[] = []
    for (const name of ['a:x', 'a:b:x', 'a:b:secret']) kinds.push((await peer.ask(['sub', name])).header[0])
    t.strictSame(kinds, ['err', 'ack', 'err'])
  })

  t.test('a pattern that cannot work is refused at once', async (t) => {
    const { app } = await startNode(t)
    t.throws(() => app.everwire.channel('a:*:b', {}), /may stand at the end only/)
    t.throws(
      () => app.everwire.channel('a:*', { history: { size: 0 } }),
      /size must be a whole number from 1/,
    )
    t.throws(() => app.everwire.channel('a:*', { maxRecover: 1.5 }), /maxRecover must be/)
  })

  t.test("a user's own channel reaches all sessions of that user, and nobody else", async (t) => {
    const { app, connect } = await startNode(t)
    const peers = [
      await connect({ token: 'al ice/é' }),
      await connect({ token: 'al ice/é' }),
      await connect({ token: 'bob' }),
    ]
    for (const peer of peers) t.equal((await peer.ask(['sub', '@me'])).header[0], 'ack')
    await app.everwire.publishToUser('al ice/é', 'hi', 1)
    for (const peer of peers) await peer.ask(['req', 'none'])
    t.strictSame(
      peers.map(({ seen }) => seen),
      [[['hi', 1]], [['hi', 1]], []],
    )
    t.equal(peers[0]!.frames[0]?.header[1], '@me', 'by the name that the client knows')
  })
})

/** Each frame of a channel names the one before it; a gap starts anew. */
function chained(frames: readonly { header: readonly unknown[] }[], from?: number): boolean {
  let last = from
  for (const { header } of frames) {
    if (header[0] === 'gap') last = header[4] as number | undefined
    if (header[0] !== 'm') continue
    const [number, previous] = (typeof header[3] === 'string' ? header.slice(4) : header.slice(3)) as [
      number,
      number,
    ]
    if (last !== undefined && previous !== last) return false
    last = number
  }
  return true
}

t.test('the end of a session', async (t) => {
  const ends = [
    'closed',
    'server-closing',
    'app:kicked',
    'unauthorized',
    'forbidden',
    'token-expired',
    'slow-consumer',
  ] as const
  for (const code of ends) {
    const isOrderly = ends.indexOf(code) < 3
    t.test(
      `${code}: what was accepted before it ${isOrderly ? 'goes out first' : 'is dropped'}`,
      async (t) => {
        const { app, connect, clock } = await startNode(t)
        const peer = await connect({ token: 'ann' })
        await peer.ask(['sub', '@me'])
        await app.everwire.publishToUser('ann', 'bye', 1)
        t.strictSame(peer.seen, [], 'it waits for the end of the turn')
        const [session] = app.everwire.sessions()
        session!.end(code)
        await app.everwire.publishToUser('ann', 'bye', 2)
        await clock.settle()
        t.strictSame(peer.seen, isOrderly ? [['bye', 1]] : [])
        t.strictSame(peer.others.at(-1)?.header.slice(0, 2), ['close', code])
      },
    )
  }

  t.test('nothing goes out of a channel that the newest claims are not asked about yet', async (t) => {
    const { app, connect, clock } = await startNode(t)
    let answer: boolean | Promise<boolean> = true
    app.everwire.channel('live:*', { subscribe: () => answer })
    const peer = await connect({ token: 'ann' })
    await peer.ask(['sub', 'live:1'])
    peer.cut()
    let decide = (_allowed: boolean) => {}
    answer = new Promise<boolean>((resolve) => (decide = resolve))
    const next = await peer.again()
    await app.everwire.publish('live:1', 'secret')
    app.everwire.sessions()[0]!.end()
    decide(true)
    await clock.settle()
    t.strictSame([next.seen, next.others.map(({ header }) => header[1])], [[], ['unknown-session']])
  })
})
