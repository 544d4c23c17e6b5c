import { encodeFrame, fromUtf8, protocolVersion, systemClock, type Fetch, type Frame } from '@everwire/core'
import { openRawLink, postUplink } from './raw-link.js'
import type { SuiteTest, TransportSuiteOptions } from './types.js'
import { createGate, until } from './until.js'
import { connected, createWorld, range, record } from './world.js'

/** Payloads that break what is careless with bytes. */
const awkward: Record<string, unknown> = {
  'nothing at all': undefined,
  null: null,
  'an empty string': '',
  'line ends of every kind': 'a\r\nb\nc\rd\n\n\r\r',
  NUL: 'a\0b',
  'U+2028 and U+2029': 'a\u2028b\u2029c',
  'a byte order mark': '\ufeffdata: x\ufeff',
  'the words of an event stream': 'data: x\n\nevent: b\nid: 1\n:\n',
  emoji: '👩‍👩‍👧‍👦 🏴‍☠️ é',
  'quotes and backslashes': '"\\"\\u0000',
  'deep and wide': { a: [{ b: [[[{}]]] }], '\n': 1e-300, ключ: false },
}

/** One link: opened, probed, written to, overtaken. */
export async function linkCases(t: SuiteTest, suite: TransportSuiteOptions): Promise<void> {
  await t.test('connects, asks and is asked', async (t) => {
    const world = await createWorld(t, suite)
    const client = world.client({ getToken: () => 'alice' })
    client.method('upper', (input) => String(input).toUpperCase())
    await connected(client)
    t.equal(client.transport, suite.transport.name)
    t.equal(client.userId, 'alice')
    t.strictSame(await client.request('echo', { a: 1 }), { a: 1 })
    t.equal(await world.everwire.sessions()[0]?.request('upper', 'word'), 'WORD')
    t.ok((await client.ping()) >= 0)
    const [session] = world.everwire.sessions('alice')
    await until(() => session!.transport === suite.transport.name, 'the next poll')
    t.strictSame(world.log, [])
  })

  await t.test('keeps the order in both directions', async (t) => {
    const world = await createWorld(t, suite)
    const client = world.client()
    const { data } = await record(client, 'history:order')
    const live = await record(client, 'live:order')
    const count = 400
    for (const n of range(1, count)) void world.everwire.publish('history:order', 'n', n)
    await until(
      () => data.length >= count,
      () => `${data.length} of ${count}`,
    )
    await Promise.all(range(1, count).map((n) => live.channel.publish('n', n)))
    await until(
      () => live.data.length >= count,
      () => `${live.data.length} of ${count}`,
    )
    t.strictSame(data, range(1, count))
    t.strictSame(live.data, range(1, count))
  })

  await t.test('carries every payload unchanged, both ways', async (t) => {
    const world = await createWorld(t, suite)
    const client = world.client()
    const { channel, data } = await record(client, 'history:payloads')
    const values = Object.values(awkward)
    for (const value of values) await channel.publish('x', value)
    for (const value of values) await world.everwire.publish('history:payloads', 'x', value)
    await until(() => data.length >= values.length * 2, 'all payloads')
    t.strictSame(data, [...values, ...values])
    for (const value of values) t.strictSame(await client.request('echo', value), value)
  })

  await t.test('carries binary payloads unchanged, both ways', async (t) => {
    const world = await createWorld(t, suite)
    const client = world.client()
    const { channel, data } = await record(client, 'live:binary')
    const values = [
      new Uint8Array(0),
      new Uint8Array([10]),
      new Uint8Array([13, 0, 10, 13, 10]),
      Uint8Array.from({ length: 256 }, (_, byte) => byte),
      new Uint8Array(30_000).fill(0xff),
    ]
    for (const value of values) await channel.publish('x', value)
    for (const value of values) await world.everwire.publish('live:binary', 'x', value)
    await until(() => data.length >= values.length * 2, 'all payloads')
    t.strictSame(
      data.map((value) => value instanceof Uint8Array && [...value]),
      [...values, ...values].map((value) => [...value]),
    )
  })

  await t.test('carries frames up to the limit, and refuses larger ones alone', async (t) => {
    const world = await createWorld(t, suite, { frameBytes: 4_096 })
    const client = world.client()
    const { channel, data } = await record(client, 'live:large')
    // Two quotes, and the header ["pub","live:large","x","…id…"].
    const room = 4_096 - encodeFrame(['pub', 'live:large', 'x', 'id'], '""').bytes
    const largest = 'x'.repeat(room)
    await channel.publish('x', largest, { id: 'id' })
    await t.rejects(channel.publish('x', `${largest}x`, { id: 'id' }), { code: 'frame-too-large' })
    await channel.publish('x', 'after')
    await until(() => data.length >= 2, 'two publications')
    t.ok(data[0] === largest && data[1] === 'after')
    t.equal(client.stats().sessions, 1)
  })

  await t.test('a probe attaches nothing, and goes on as a link', async (t) => {
    const world = await createWorld(t, suite)
    const signal = new AbortController().signal
    const handshake = {
      url: world.url,
      fetch: globalThis.fetch as unknown as Fetch,
      clock: systemClock,
      headers: {},
      attach: () =>
        encodeFrame(['attach', { v: protocolVersion, gen: 1, place: 'p', poll: 0, cursor: 0, acked: 0 }]),
      idleMs: Infinity,
      session: () => undefined,
      applied() {},
    }
    const [given, used] = [
      await suite.transport.probe(handshake, signal),
      await suite.transport.probe(handshake, signal),
    ]
    t.equal(world.everwire.sessions().length, 0)
    given.close()
    given.close()
    const frames: Frame[] = []
    const link = used.attach(handshake, {
      receive(frame) {
        frames.push(frame)
        used.close()
        t.equal(world.everwire.sessions().length, 1)
        link.close('closed')
      },
      drained() {},
      closed() {},
    })
    await until(() => frames.length > 0, 'the welcome')
    t.strictSame(
      frames.map(({ header: [kind] }) => kind),
      ['welcome'],
    )
  })

  await t.test('a probe that is given up leaves nothing behind', async (t) => {
    const world = await createWorld(t, suite)
    const controller = new AbortController()
    controller.abort()
    const handshake = {
      url: world.url,
      fetch: globalThis.fetch as unknown as Fetch,
      clock: systemClock,
      headers: {},
      attach: () => encodeFrame(['ping', 0]),
      idleMs: Infinity,
      session: () => undefined,
      applied() {},
    }
    await t.rejects(suite.transport.probe(handshake, controller.signal), { code: 'link-lost' })
    t.equal(world.everwire.sessions().length, 0)
  })

  await t.test('a delayed older attach does not fence the newer link', async (t) => {
    const held = createGate()
    const world = await createWorld(t, suite, {
      authenticate: async ({ token }) => {
        if (token === 'slow') await held.opened
        return { userId: 'alice' }
      },
    })
    const opened = openRawLink(suite.transport, { url: world.url, attach: {} })
    const { session } = await opened.welcomed()
    const older = openRawLink(suite.transport, { url: world.url, attach: { session, gen: 2, token: 'slow' } })
    const newer = openRawLink(suite.transport, { url: world.url, attach: { session, gen: 3 } })
    await newer.welcomed()
    held.open()
    t.equal((await older.ended()) && older.refused, 'stale')
    await newer.send(['sub', 'live:x'])
    await newer.received(1)
    await world.everwire.publish('live:x', 'still', 1)
    await newer.received(2)
    t.equal(newer.closed, undefined)
    newer.link.close('closed')
  })

  await t.test('the same attempt from another place is stale and changes nothing', async (t) => {
    const world = await createWorld(t, suite)
    const first = openRawLink(suite.transport, { url: world.url, attach: { gen: 5 } })
    const { session } = await first.welcomed()
    for (const attach of [
      { session, gen: 5, place: 'there' },
      { session, gen: 4 },
    ]) {
      const other = openRawLink(suite.transport, { url: world.url, attach })
      await other.ended()
      t.equal(other.refused, 'stale')
    }
    await first.send(['req', 'echo'], '"here"')
    await first.received(1)
    t.equal(first.frames[0]?.frame.header[0], 'reply')
    first.link.close('closed')
  })

  await t.test('a newer attach ends the older link as superseded', async (t) => {
    const world = await createWorld(t, suite)
    const older = openRawLink(suite.transport, { url: world.url, attach: {} })
    const { session } = await older.welcomed()
    const newer = openRawLink(suite.transport, { url: world.url, attach: { session, gen: 2 } })
    await newer.welcomed()
    const { code } = await older.ended()
    t.ok(
      code === 'superseded' ||
        older.refused === 'stale' ||
        older.others.some(({ header }) => header[0] === 'superseded'),
      `it ended as ${code}`,
    )
    newer.link.close('closed')
  })

  await t.test('an attach with any cursor gets exactly the rest', async (t) => {
    const world = await createWorld(t, suite)
    const last = 8
    for (const cursor of range(1, last)) {
      const earlier = new Set(world.everwire.sessions())
      const opener = openRawLink(suite.transport, { url: world.url, attach: {}, stopAfter: 1 })
      const { session } = await opener.welcomed()
      await opener.send(['sub', 'history:rest'])
      await opener.ended()
      const owner = world.everwire.sessions().find((session) => !earlier.has(session))
      await until(() => owner!.transport === undefined, 'the link to be gone')
      // In one turn, and not through the bus: a link that carries them in several answers confirms the first of them.
      for (const n of range(2, last)) void owner!.request('n', n).catch(() => {})
      // Read, and not confirmed.
      const reader = openRawLink(suite.transport, {
        url: world.url,
        attach: { session, gen: 2, cursor: 1 },
        stopAfter: last - 1,
      })
      await reader.ended()
      await until(() => owner!.transport === undefined, 'the link to be gone')
      const again = openRawLink(suite.transport, {
        url: world.url,
        attach: { session, gen: 3, cursor, acked: 1 },
      })
      const { from, applied } = await again.welcomed()
      t.strictSame([from, applied], [cursor + 1, 1])
      await again.send(['req', 'echo'], '"the last"')
      await again.received(last - cursor + 1)
      t.strictSame(
        again.frames.map(({ number, frame }) => [number, frame.data && JSON.parse(String(text(frame.data)))]),
        [...range(cursor + 1, last).map((n) => [n, n]), [last + 1, 'the last']],
      )
      again.link.close('closed')
      await until(() => owner!.transport === undefined, 'the last link to be gone')
    }
  })

  await t.test('a cursor that the server cannot have reached loses the session, and says so', async (t) => {
    const world = await createWorld(t, suite)
    for (const wrong of [{ cursor: 7 }, { acked: 7 }]) {
      const first = openRawLink(suite.transport, { url: world.url, attach: {} })
      const { session } = await first.welcomed()
      const second = openRawLink(suite.transport, { url: world.url, attach: { session, gen: 2, ...wrong } })
      await second.ended()
      t.equal(second.refused, 'unknown-session')
      await first.ended()
      t.equal(world.everwire.sessions().length, 0)
    }
  })

  await t.test('a client cannot confirm what was never written', async (t) => {
    const world = await createWorld(t, suite)
    const first = openRawLink(suite.transport, { url: world.url, attach: {}, stopAfter: 1 })
    const { session } = await first.welcomed()
    await first.send(['sub', 'live:x'])
    await first.ended()
    await until(() => world.everwire.sessions()[0]?.transport === undefined, 'the link to be gone')
    await world.everwire.publish('live:x', 'n', 1)
    const second = openRawLink(suite.transport, {
      url: world.url,
      attach: { session, gen: 2, cursor: 2 },
    })
    await second.ended()
    t.equal(second.refused, 'unknown-session')
    t.equal(world.everwire.sessions().length, 0)
  })

  if (!suite.oneWay) return
  await t.test(
    'uplinks that are doubled, reordered or leave a hole are applied once and in order',
    async (t) => {
      const applied: unknown[] = []
      const world = await createWorld(t, suite, {}, ({ everwire }) =>
        everwire.method('note', (_session, input) => void applied.push(input)),
      )
      const link = openRawLink(suite.transport, { url: world.url, attach: {} })
      const { session } = await link.welcomed()
      const note = (n: number) => encodeFrame(['req', 'note'], String(n))
      const post = (first: number, ...frames: number[]) =>
        postUplink(world.url, session, first, frames.map(note))
      t.strictSame(await post(3, 3, 4), { status: 200, applied: 0 }, 'a hole: nothing is kept')
      t.strictSame(await post(1, 1, 2), { status: 200, applied: 2 })
      t.strictSame(await post(1, 1, 2), { status: 200, applied: 2 }, 'doubled')
      t.strictSame(await post(2, 2, 3), { status: 200, applied: 3 }, 'overlapping')
      t.strictSame(await post(5, 5), { status: 200, applied: 3 }, 'a hole again')
      const [late, early] = await Promise.all([post(5, 5, 6), post(4, 4)])
      t.equal(early.applied, 4)
      t.ok(late.applied === 3 || late.applied === 6)
      t.strictSame(await post(4, 4, 5, 6, 7), { status: 200, applied: 7 })
      t.strictSame(await post(1, ...range(1, 7)), { status: 200, applied: 7 })
      await link.received(7)
      t.strictSame(applied, range(1, 7))
      t.equal(link.frames.length, 7, 'each has one answer')
      link.link.close('closed')
    },
  )
}

const text = (data: string | Uint8Array) => (typeof data === 'string' ? data : fromUtf8(data))
