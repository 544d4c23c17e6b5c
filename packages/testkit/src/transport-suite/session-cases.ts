import { EverwireError } from '@everwire/core'
import { createFakeClock } from '../fake-clock.js'
import { openRawLink } from './raw-link.js'
import type { SuiteTest, TransportSuiteOptions } from './types.js'
import { until } from './until.js'
import { allOf, connected, createWorld, openChannels, range, record } from './world.js'

/** The session over links that come and go: identity, time, restarts, switches. */
export async function sessionCases(t: SuiteTest, suite: TransportSuiteOptions): Promise<void> {
  const { name } = suite.transport

  await t.test(
    'nothing is lost when the resume window has passed: a new session recovers by position',
    async (t) => {
      const clock = createFakeClock()
      const world = await createWorld(t, suite, { clock })
      const client = world.client({ backoffMs: 1, maxBackoffMs: 1 })
      const { data, gaps } = await record(client, 'history:window')
      const live = await record(client, 'live:window')
      await world.everwire.publish('history:window', 'n', 1)
      await until(() => data.length === 1, 'the first')
      const [old] = world.everwire.sessions()
      old!.end('slow-consumer', 'as if its window had passed')
      await world.everwire.publish('history:window', 'n', 2)
      await until(() => data.length >= 2, 'the second')
      await until(() => live.gaps.length > 0, 'the gap')
      t.strictSame([data, gaps, live.gaps], [[1, 2], [], ['session']])
      t.equal(client.stats().sessions, 2)
    },
  )

  await t.test('a session ends when its resume window passes, and not before', async (t) => {
    const clock = createFakeClock()
    const world = await createWorld(t, suite, { clock, resumeWindowMs: 60_000 })
    const first = openRawLink(suite.transport, { url: world.url, attach: {}, stopAfter: 0 })
    const { session } = await first.welcomed()
    await until(() => world.everwire.sessions()[0]?.transport === undefined, 'the link to be gone')
    await clock.advance(59_999)
    const second = openRawLink(suite.transport, { url: world.url, attach: { session, gen: 2 }, stopAfter: 0 })
    await second.welcomed()
    await until(() => world.everwire.sessions()[0]?.transport === undefined, 'the link to be gone')
    await clock.advance(60_001)
    t.equal(world.everwire.sessions().length, 0)
    const third = openRawLink(suite.transport, { url: world.url, attach: { session, gen: 3 } })
    await third.ended()
    t.equal(third.refused, 'unknown-session')
  })

  await t.test('a link that says nothing is refused in time', async (t) => {
    const clock = createFakeClock()
    const world = await createWorld(t, suite, { clock, authenticate: () => new Promise(() => {}) })
    const timers = clock.pending
    const link = openRawLink(suite.transport, { url: world.url, attach: {} })
    await until(() => clock.pending > timers, 'the timer of the hello')
    await clock.advance(5_000)
    await link.ended()
    t.equal(link.refused, 'hello-timeout')
    t.strictSame(
      // That the hook does not answer is a line of its own, which has no code.
      world.log.flatMap(({ code }) => code ?? []),
      ['hello-timeout'],
    )
  })

  await t.test('a token that expired is fetched once, and the session is kept', async (t) => {
    let tokens = 0
    let valid = 'token 1'
    const world = await createWorld(t, suite, {
      authenticate: ({ token }) => {
        if (token !== valid) throw new EverwireError('token-expired', 'too old')
        return { userId: 'alice' }
      },
    })
    const client = world.client({ getToken: () => `token ${++tokens}` })
    const { data, gaps } = await record(client, 'live:token')
    valid = 'token 2'
    const link = world.everwire.sessions()[0]
    world.dropConnections()
    await world.everwire.publish('live:token', 'n', 1)
    await until(() => data.length === 1, 'what was published meanwhile')
    t.strictSame([tokens, client.stats().sessions, client.stats().resumes >= 1, gaps], [2, 1, true, []])
    t.equal(world.everwire.sessions()[0], link)
  })

  await t.test('a token that expires under a link is fetched anew after its grace', async (t) => {
    let tokens = 0
    const world = await createWorld(t, suite, {
      authenticate: ({ token }) => ({
        userId: 'alice',
        ...(token === 'token 1' ? { expiresAt: Date.now() + 400 } : {}),
      }),
      tokenGraceMs: 1,
    })
    const client = world.client({ getToken: () => `token ${++tokens}` })
    await connected(client)
    await until(() => tokens === 2 && client.state === 'connected', 'the second token')
    t.equal(await client.request('echo', 1), 1)
    t.strictSame([tokens, client.stats().sessions], [2, 1])
  })

  await t.test('a refused client stops, and asks nothing more', async (t) => {
    let asked = 0
    const world = await createWorld(t, suite, {
      authenticate: () => {
        asked++
        return null
      },
    })
    const client = world.client()
    await t.rejects(client.channel('live:x').subscribe(), { code: 'unauthorized' })
    t.equal(client.state, 'closed')
    t.equal(asked, 1)
    t.equal(world.everwire.sessions().length, 0)
  })

  await t.test('comes back after the server was restarted, and recovers', async (t) => {
    const world = await createWorld(t, suite)
    const client = world.client()
    const { data, gaps } = await record(client, 'history:restart')
    const live = await record(client, 'live:restart')
    await world.everwire.publish('history:restart', 'n', 1)
    await until(() => data.length === 1, 'the first')
    await world.restart()
    const told = suite.bus?.durable ? [] : ['epoch']
    await until(() => live.gaps.length > 0 && gaps.length >= told.length, 'the gaps')
    await world.everwire.publish('history:restart', 'n', 2)
    await world.everwire.publish('live:restart', 'n', 3)
    await until(() => data.length >= 2 && live.data.length >= 1, 'what came after')
    // Where the history lived in the server's memory it began anew, and that is told.
    t.strictSame([data, gaps, live.data, live.gaps], [[1, 2], told, [3], ['session']])
  })

  await t.test('publications made offline arrive in order, once; the queue is bounded', async (t) => {
    const world = await createWorld(t, suite)
    const reader = await record(world.client(), 'history:offline')
    const client = world.client({ queueSize: 50 })
    const channel = client.channel('history:offline')
    const all = Promise.all(range(1, 50).map((n) => channel.publish('n', n)))
    await t.rejects(channel.publish('n', 51), { code: 'queue-full' })
    await all
    await until(() => reader.data.length >= 50, 'all of them')
    t.strictSame(reader.data, range(1, 50))
  })

  await t.test('a small queue is a bound on what is open, not on what was ever sent', async (t) => {
    const world = await createWorld(t, suite)
    const client = world.client({ queueSize: 5 })
    client.method('ask', (input) => input)
    await connected(client)
    const [session] = world.everwire.sessions()
    for (const n of range(1, 40)) {
      t.equal(await client.request('echo', n), n)
      t.equal(await session!.request('ask', n), n)
    }
  })

  await t.test('a channel that new claims deny is taken back, with all that waits of it', async (t) => {
    let claims: unknown = 'member'
    const world = await createWorld(
      t,
      suite,
      { authenticate: () => ({ userId: 'alice', claims }) },
      (server) => {
        openChannels(server)
        server.everwire.channel('members:*', {
          subscribe: (session) => session.claims === 'member',
        })
      },
    )
    const client = world.client()
    const members = await record(client, 'members:x')
    const open = await record(client, 'live:x')
    await world.everwire.publish('members:x', 'n', 1)
    await until(() => members.data.length === 1, 'the first')
    claims = 'guest'
    world.dropConnections()
    await world.everwire.publish('members:x', 'n', 2)
    await world.everwire.publish('live:x', 'n', 3)
    await until(() => open.data.length === 1 && members.unsubscribed.length === 1, 'the rest')
    await world.everwire.publish('members:x', 'n', 4)
    await world.everwire.publish('live:x', 'n', 5)
    await until(() => open.data.length === 2, 'the last')
    t.strictSame([members.data, members.unsubscribed, open.data], [[1], ['forbidden'], [3, 5]])
    t.equal(members.channel.subscribed, false)
    t.equal(client.stats().sessions, 1)
  })

  for (const code of ['closed', 'slow-consumer', 'forbidden'] as const)
    await t.test(`a session that the server ends as ${code} is told so`, async (t) => {
      const world = await createWorld(t, suite)
      const link = openRawLink(suite.transport, { url: world.url, attach: {} })
      await link.welcomed()
      const [session] = world.everwire.sessions()
      await until(() => session!.transport === suite.transport.name, 'the next poll')
      // Sent in the same turn.
      void session!.request('bye').catch(() => {})
      session!.end(code, 'because')
      await link.ended()
      t.strictSame(
        link.frames.map(({ frame }) => frame.header[1]),
        code === 'closed' ? ['bye'] : [],
      )
      t.strictSame(link.others.find(({ header }) => header[0] === 'close')?.header.slice(0, 2), [
        'close',
        code,
      ])
      t.equal(world.everwire.sessions().length, 0)
    })

  const all = allOf(suite)
  for (const from of all)
    for (const to of all)
      if (from !== to && (from.name === name || to.name === name))
        await t.test(`switches from ${from.name} to ${to.name} under load without a loss`, async (t) => {
          const world = await createWorld(t, suite)
          const client = world.client({ transports: [from, to] })
          await connected(client, from.name)
          const history = await record(client, 'history:load')
          const live = await record(client, 'live:load')
          let n = 0
          let running = true
          const isRunning = () => running
          const load = (async () => {
            const sent: Promise<unknown>[] = []
            while (isRunning()) {
              n++
              sent.push(
                world.everwire.publish('history:load', 'n', n),
                live.channel.publish('n', n),
                client.request('echo', n),
              )
              if (n % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
              if (n % 200 === 0) await Promise.all(sent.splice(0))
            }
            await Promise.all(sent)
          })()
          for (const target of [to, from, to]) {
            await client.switchTo(target.name)
            t.equal(client.transport, target.name)
            const seen = n
            await until(() => n > seen + 20, 'more load')
          }
          running = false
          await load
          await until(
            () => history.data.length >= n && live.data.length >= n,
            () => `${history.data.length} and ${live.data.length} of ${n}`,
          )
          t.strictSame(history.data, range(1, n))
          t.strictSame(live.data, range(1, n))
          t.strictSame([history.gaps, live.gaps, client.stats().sessions], [[], [], 1])
          // A poll of the link that was left may arrive after the new one has attached.
          t.strictSame(
            world.log.filter(({ code }) => code !== 'stale'),
            [],
          )
        })
}
