import { randomBase32, systemClock } from '@everwire/core'
import { createFakeClock } from '../fake-clock.js'
import { createFaultProxy, type FaultProxyOptions, type ProxiedConnection } from '../fault-proxy.js'
import type { SuiteTest, TransportSuiteOptions } from './types.js'
import { until, pause } from './until.js'
import { connected, createWorld, range, record, type World } from './world.js'

/** What networks do to links: cut them, let them hang, slow them down. */
export async function faultCases(t: SuiteTest, suite: TransportSuiteOptions): Promise<void> {
  const { name } = suite.transport
  const isLink = ({ url = '' }: { url?: string | undefined }) => url.endsWith(`/${name}`)
  const links = ({ request }: ProxiedConnection) => isLink(request)

  const throughProxy = async (
    t: SuiteTest,
    world: World,
    options: Omit<FaultProxyOptions, 'target'> = {},
  ) => {
    const proxy = await createFaultProxy({ target: { host: '127.0.0.1', port: world.port }, ...options })
    t.teardown(() => proxy.close())
    return { proxy, url: `http://127.0.0.1:${proxy.port}/everwire` }
  }

  await t.test('resumes after the link drops in mid-frame, wherever that is', async (t) => {
    const world = await createWorld(t, suite)
    let offsets: number[] = []
    const { proxy, url } = await throughProxy(t, world, {
      decide: (request) => {
        const cutAfterBytes = isLink(request) ? offsets.shift() : undefined
        return cutAfterBytes === undefined ? {} : { cutAfterBytes }
      },
    })
    const client = world.client({ url, backoffMs: 2, maxBackoffMs: 4 })
    const history = await record(client, 'history:cut')
    const live = await record(client, 'live:cut')
    offsets = range(0, 45).map((i) => 1 + i * 23)
    let n = 0
    proxy.cut()
    while (offsets.length > 0) {
      n++
      await world.everwire.publish('history:cut', 'n', n)
      await world.everwire.publish('live:cut', 'n', n)
      // So many that each cut is reached, so few that it falls into what a link replays, too.
      await pause(2)
    }
    await until(
      () => history.data.length >= n && live.data.length >= n,
      () => `${history.data.length} and ${live.data.length} of ${n}`,
    )
    t.strictSame(history.data, range(1, n))
    t.strictSame(live.data, range(1, n))
    t.strictSame([history.gaps, live.gaps, client.stats().sessions], [[], [], 1])
  })

  await t.test('what is published while links drop is accepted once', async (t) => {
    const world = await createWorld(t, suite)
    const { proxy, url } = await throughProxy(t, world)
    const reader = await record(world.client(), 'history:up')
    const client = world.client({ url, backoffMs: 2, maxBackoffMs: 4 })
    await connected(client)
    const channel = client.channel('history:up')
    for (const n of range(1, 60)) {
      const published = channel.publish('n', n)
      if (n % 6 === 0) proxy.cut()
      await published
    }
    await until(() => reader.data.length >= 60, 'all of them')
    t.strictSame(reader.data, range(1, 60))
    t.equal(client.stats().sessions, 1)
  })

  await t.test('the server finds a half-open client; its neighbour stays', async (t) => {
    const clock = createFakeClock()
    const world = await createWorld(t, suite, { clock })
    const { proxy, url } = await throughProxy(t, world)
    const neighbour = world.client()
    const { data } = await record(neighbour, 'live:half')
    const [kept] = world.everwire.sessions()
    const client = world.client({ url })
    await connected(client)
    const lost = world.everwire.sessions().find((session) => session !== kept)!
    await until(() => lost.transport === name, 'the next poll')
    proxy.freeze(links)
    for (const ms of [25_000, 25_000, 25_000, 5_000]) {
      await neighbour.ping()
      await clock.advance(ms)
    }
    await until(() => lost.transport === undefined, 'the link to be given up')
    await world.everwire.publish('live:half', 'n', 1)
    await until(() => data.length === 1, 'the publication at the neighbour')
    t.equal(neighbour.stats().resumes, 0)
    t.ok(world.everwire.sessions().includes(lost), 'the session waits for its client')
    // Whatever the server could not say to a peer that hangs is given up, too.
    await clock.advance(30_000)
    client.close()
  })

  await t.test('the client finds a half-open server, and comes back', async (t) => {
    const clock = createFakeClock()
    const world = await createWorld(t, suite)
    const { proxy, url } = await throughProxy(t, world)
    const client = world.client({ url, clock })
    const { data, gaps } = await record(client, 'live:half')
    const [session] = world.everwire.sessions()
    await until(() => session!.transport === name, 'the next poll')
    proxy.freeze(links)
    for (const ms of [25_000, 25_000, 25_000, 5_000]) await clock.advance(ms)
    t.equal(client.state, 'reconnecting')
    await world.everwire.publish('live:half', 'n', 1)
    await clock.advance(100)
    await until(() => data.length === 1, 'the publication')
    t.strictSame([gaps, client.stats().sessions, client.stats().resumes], [[], 1, 1])
  })

  await t.test('a reader that is too slow is ended alone, and recovers by position', async (t) => {
    const world = await createWorld(t, suite, { outboxFrames: 40, highWaterBytes: 65_536 })
    const { proxy, url } = await throughProxy(t, world)
    const neighbour = await record(world.client(), 'history:slow')
    const [kept] = world.everwire.sessions()
    const client = world.client({ url })
    const slow = await record(client, 'history:slow')
    const session = world.everwire.sessions().find((one) => one !== kept)!
    await until(() => session.transport === name, 'the next poll')
    proxy.freeze(links)
    // Nothing that compression could make small.
    const payload = randomBase32(32_000)
    let n = 0
    let most = 0
    while (world.everwire.sessions().includes(session)) {
      if (n > 900) throw new Error('the slow reader was never ended')
      n++
      await world.everwire.publish('history:slow', 'n', { n, payload })
      await until(() => neighbour.data.length === n, 'the neighbour')
      most = Math.max(most, world.bufferedBytes())
    }
    t.ok(most < 65_536 + 2 * 100_000, `the sockets held ${most} bytes at most`)
    proxy.cut()
    await until(
      () => slow.data.length >= n,
      () => `${slow.data.length} of ${n}`,
    )
    const numbers = (data: unknown[]) => data.map((value) => (value as { n: number }).n)
    t.strictSame(numbers(slow.data), range(1, n))
    t.strictSame(numbers(neighbour.data), range(1, n))
    t.strictSame([slow.gaps, neighbour.gaps, client.stats().sessions], [[], [], 2])
  })

  await t.test(
    'a server that closes does not wait for links, nor for what is still authenticated',
    async (t) => {
      let authenticating = 0
      let release = () => {}
      const held = new Promise<void>((resolve) => {
        release = resolve
      })
      const world = await createWorld(t, suite, {
        authenticate: async ({ token }) => {
          if (token === 'late') {
            authenticating++
            await held
          }
          return { userId: null }
        },
      })
      const { data } = await record(world.client(), 'live:x')
      world.client({ getToken: () => 'late' }).connect()
      await until(() => authenticating === 1, 'the second client')
      await world.everwire.publish('live:x', 'n', 1)
      await until(() => data.length === 1, 'the first')
      const started = systemClock.now()
      const stopped = world.stop()
      release()
      await stopped
      t.ok(systemClock.now() - started < 4_000, 'at once')
      t.equal(world.everwire.sessions().length, 0)
    },
  )
}
