import { createClient, type Client, type ClientOptions } from '@everwire/client'
import { createFakeClock } from '@everwire/testkit'
import t, { type Test } from 'tap'
import { createBrowser, type Page } from './tabs/browser.js'
import { createServer } from './tabs/server.js'

// Many tabs of one browser, in one process: locks, broadcast channels, network and server are made of a clock.

/** Mulberry32: the same numbers for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296
  }
}

interface Tab {
  page: Page
  client: Client
  /** What came, by channel. */
  values: Record<string, number[]>
  gaps: string[]
  states: string[]
  read(channel: string, position?: { epoch: string; offset: number }): Promise<void>
}

function world(t: Test, seed = 1) {
  const random = randomFrom(seed)
  const clock = createFakeClock()
  const browser = createBrowser(clock, () => random() * 3)
  const server = createServer(clock, random)
  server.users.set('', null).set('ann', 'ann').set('bob', 'bob')
  const tabs: Tab[] = []
  t.teardown(() => {
    for (const { page, client } of tabs) if (page.alive) client.close()
  })
  const open = (
    name: string,
    token: string | undefined = 'ann',
    options: Partial<ClientOptions> = {},
  ): Tab => {
    const page = browser.page(name)
    const client = createClient({
      url: 'http://localhost:1/everwire',
      transports: [server.transport(page)],
      fetch: server.fetch(page),
      getToken: () => token,
      shareTabs: page.environment,
      clock: page.clock,
      random,
      ...options,
    })
    const tab: Tab = {
      page,
      client,
      values: {},
      gaps: [],
      states: [],
      read(name, position) {
        const channel = client.channel(name)
        const values = (tab.values[name] ??= [])
        channel.on('*', (value) => page.alive && values.push(value as number))
        channel.on('gap', ({ reason }) => page.alive && tab.gaps.push(`${name} ${reason}`))
        const subscribed = channel.subscribe(position ? { position } : {})
        // A test that ends closes what still waits.
        subscribed.catch(() => {})
        return subscribed
      },
    }
    client.on('state', ({ state }) => tab.states.push(state))
    tabs.push(tab)
    return tab
  }
  const settle = async (ms = 200) => {
    // What clients load takes turns of the real loop: whoever asks later gets it later.
    await import('../src/tabs/tab-carrier.js')
    await clock.settle()
    await clock.advance(ms)
  }
  return { clock, browser, server, open, random, settle }
}

const upTo = (last: number, first = 1) =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index)
const leaderName = 'everwire'

t.test('three tabs of one user are one session, and each gets everything once', async (t) => {
  const { server, open, settle } = world(t)
  const tabs = [open('a'), open('b'), open('c')]
  const read = tabs.map((tab) => Promise.all([tab.read('hist:a'), tab.read('live:a')]))
  await settle()
  await Promise.all(read)
  t.equal(server.sessions().length, 1)
  t.strictSame(
    tabs.map(({ client }) => [client.state, client.transport, client.userId]),
    Array.from({ length: 3 }, () => ['connected', 'memory', 'ann']),
  )
  t.equal(
    server.sessions()[0]!.asked.filter((one) => one === 'sub live:a').length,
    1,
    'one subscription for all',
  )
  for (const n of upTo(5)) server.publish('hist:a', n)
  for (const n of upTo(5)) server.publish('live:a', n)
  await settle()
  for (const { values, gaps } of tabs)
    t.strictSame([values, gaps], [{ 'hist:a': upTo(5), 'live:a': upTo(5) }, []])
  const [first, second] = [tabs[0]!.client, tabs[1]!.client]
  const explained = [first, second].map((client) => client.explain().sentence)
  t.match(
    explained.find((sentence) => /another tab carries it: memory .*the first choice/.test(sentence)),
    /./,
  )
  t.match(explained.concat(tabs[2]!.client.explain().sentence).join(), /this tab carries 2 more/)
  const pings = [first.ping(), second.ping()]
  await settle()
  for (const ms of await Promise.all(pings)) t.type(ms, 'number')
  t.strictSame(first.stats().sessions, second.stats().sessions)
  const switched = tabs.map(({ client }) =>
    client.switchTo('pigeon').catch(({ code }: { code: string }) => code),
  )
  await settle()
  t.strictSame(await Promise.all(switched), ['no-transport', 'no-transport', 'no-transport'])
})

t.test('each tab hears the answers to what it asked itself, binary data too', async (t) => {
  const { server, open, settle } = world(t)
  const tabs = [open('a'), open('b'), open('c')]
  const asked = tabs.map(({ client }, index) => client.request('echo', { index }))
  const published = tabs.map(({ client }, index) => client.channel('hist:a').publish('n', index))
  const bytes = tabs[2]!.client.request('echo', new Uint8Array([1, 2, 3]))
  await settle()
  t.strictSame(await Promise.all(asked), [{ index: 0 }, { index: 1 }, { index: 2 }])
  t.equal(new Set((await Promise.all(published)).map(({ offset }) => offset)).size, 3)
  t.equal(server.sessions().length, 1)
  t.strictSame(await bytes, new Uint8Array([1, 2, 3]))
})

for (const end of ['close', 'kill', 'pagehide', 'freeze'] as const)
  t.test(
    `the leading tab ends by ${end}: nothing is lost, nothing doubled, and one session is left`,
    async (t) => {
      const { server, browser, open, settle, clock } = world(t)
      const tabs = [open('a'), open('b'), open('c')]
      const read = tabs.map((tab) => Promise.all([tab.read('hist:a'), tab.read('live:a')]))
      await settle()
      await Promise.all(read)
      const leader = tabs.find(({ page }) => page.name === browser.holder(leaderName))!
      const others = tabs.filter((tab) => tab !== leader)
      let n = 0
      const publish = async (times: number, everyMs: number) => {
        for (let i = 0; i < times; i++) {
          server.publish('hist:a', ++n)
          await clock.advance(everyMs)
        }
      }
      await publish(10, 3)
      // In the middle of things: some of it is on its way.
      if (end === 'close') leader.client.close()
      if (end === 'kill') leader.page.kill()
      if (end === 'pagehide') leader.page.tell('pagehide')
      if (end === 'freeze') leader.page.freeze()
      const published = others[0]!.client.channel('hist:a').publish('n', 1_000)
      await publish(20, 3)
      if (end === 'freeze') await settle(15_000)
      await settle()
      await published
      for (const { values, gaps } of others) {
        t.strictSame(
          values['hist:a']!.filter((value) => value !== 1_000),
          upTo(n),
        )
        t.equal(values['hist:a']!.filter((value) => value === 1_000).length, 1, 'sent again, stored once')
        t.strictSame(gaps, ['live:a session'], 'what a live channel lost is told')
      }
      // A killed process ends its connection, which the server sees sooner or later.
      const here = server.sessions().filter(({ page }) => page !== leader.page)
      t.equal(here.length, 1)
      if (end === 'close' || end === 'pagehide') t.equal(server.sessions().length, 1, 'it left in good order')
      t.not(browser.holder(leaderName), leader.page.name)
      if (end === 'freeze') leader.page.thaw()
      if (end === 'pagehide') leader.page.tell('pageshow')
      if (end === 'close' || end === 'kill') return
      await settle(1_000)
      t.equal(server.sessions().length, 1, 'it comes back as one that follows')
      t.strictSame(
        leader.values['hist:a']!.filter((value) => value !== 1_000),
        upTo(n),
      )
      t.equal(leader.client.state, 'connected')
    },
  )

t.test('a tab that dies leaves its channels; the last one ends the subscription', async (t) => {
  const { server, open, settle, browser } = world(t)
  const [a, b] = [open('a'), open('b')]
  void a.read('hist:a')
  await settle()
  t.equal(browser.holder(leaderName), 'a')
  await Promise.all([b.read('hist:a'), b.read('hist:b'), settle()])
  const session = server.sessions()[0]!
  t.strictSame([...session.channels.keys()].sort(), ['hist:a', 'hist:b'])
  b.page.kill()
  await settle()
  t.strictSame([...session.channels.keys()], ['hist:a'])
  const left = a.client.channel('hist:a').unsubscribe()
  await settle()
  await left
  t.strictSame([...session.channels.keys()], [])
})

t.test('a later subscription costs the server nothing, unless it goes back', async (t) => {
  const { server, open, settle, browser } = world(t)
  const [a, b, c] = [open('a'), open('b'), open('c')]
  void a.read('hist:a')
  await settle()
  t.equal(browser.holder(leaderName), 'a')
  const offsets = upTo(10).map((n) => server.publish('hist:a', n))
  await settle()
  await Promise.all([b.read('hist:a'), settle()])
  const asked = () => server.sessions()[0]!.asked.filter((one) => one === 'sub hist:a').length
  t.equal(asked(), 1)
  t.strictSame(b.client.channel('hist:a').position, a.client.channel('hist:a').position)
  await Promise.all([c.read('hist:a', { epoch: 'e1', offset: offsets[3]! }), settle()])
  t.equal(asked(), 2)
  for (const n of upTo(15, 11)) server.publish('hist:a', n)
  await settle()
  t.strictSame(
    [a, b, c].map(({ values }) => values['hist:a']),
    [upTo(15), upTo(15, 11), upTo(15, 5)],
  )
  t.strictSame(
    [a, b, c].flatMap(({ gaps }) => gaps),
    [],
  )
  t.equal(asked(), 2)
})

t.test('a gap of one that goes back concerns nobody who is further', async (t) => {
  const { server, open, settle } = world(t)
  const [a, b, c] = [open('a'), open('b'), open('c')]
  void a.read('hist:a')
  await settle()
  const offsets = upTo(10).map((n) => server.publish('hist:a', n))
  await settle()
  server.expire('hist:a', offsets[5]!)
  await Promise.all([b.read('hist:a', { epoch: 'e1', offset: offsets[1]! }), settle()])
  t.strictSame(b.values['hist:a'], upTo(10, 7))
  t.strictSame([a.gaps, b.gaps], [[], ['hist:a expired']])
  // One of another epoch: who asked is told, nobody else.
  await Promise.all([c.read('hist:a', { epoch: 'e0', offset: 3 }), settle()])
  for (const n of upTo(12, 11)) server.publish('hist:a', n)
  await settle()
  t.strictSame([a.gaps, b.gaps, c.gaps], [[], ['hist:a expired'], ['hist:a epoch']])
  t.strictSame(
    [a, b, c].map(({ values }) => values['hist:a']),
    [upTo(12), upTo(12, 7), upTo(12, 11)],
  )
  server.restart('hist:a')
  for (const n of upTo(14, 13)) server.publish('hist:a', n)
  await settle()
  t.strictSame(
    [a, b, c].map(({ gaps }) => gaps.at(-1)),
    Array(3).fill('hist:a epoch'),
  )
  t.strictSame([a.gaps.length, b.gaps.length, c.gaps.length], [1, 2, 2])
  t.strictSame(
    [a, b, c].map(({ values }) => values['hist:a']),
    [upTo(14), upTo(14, 7), upTo(14, 11)],
  )
})

t.test('a subscription that is refused or taken back is told to all who read', async (t) => {
  const { server, open, settle } = world(t)
  const [a, b, c] = [open('a'), open('b'), open('c')]
  void a.read('hist:a')
  void b.read('hist:a')
  await settle()
  const told: string[] = []
  for (const { page, client } of [a, b])
    client.channel('hist:a').on('unsubscribed', ({ code }) => told.push(`${page.name} ${code}`))
  server.publish('hist:a', 1)
  await settle()
  server.denied.set('hist:a', 'forbidden')
  const refused = t.rejects(c.read('hist:a', { epoch: 'e1', offset: 99 }), { code: 'forbidden' })
  await settle()
  await refused
  t.strictSame(told.sort(), ['a forbidden', 'b forbidden'])
  t.equal(server.sessions()[0]!.channels.size, 0)
  server.denied.clear()
  await Promise.all([a.read('hist:a'), b.read('hist:a'), settle()])
  server.revoke('hist:a', 'forbidden')
  await settle()
  t.strictSame(told.sort(), ['a forbidden', 'a forbidden', 'b forbidden', 'b forbidden'])
})

t.test('users are apart: two users are two sessions, and neither sees what is the other’s', async (t) => {
  const { server, open, settle } = world(t)
  const [ann, also, bob] = [open('a', 'ann'), open('b', 'ann'), open('c', 'bob')]
  await Promise.all([ann, also, bob].map((tab) => tab.read('@me')).concat(settle()))
  t.equal(server.sessions().length, 2)
  server.publish('@user:ann', 1)
  server.publish('@user:bob', 2)
  await settle()
  t.strictSame(
    [ann, also, bob].map(({ values }) => values['@me']),
    [[1], [1], [2]],
  )
  // Nobody with a token shares with nobody; without one they share.
  const nobodies = [open('d', 'forged'), open('e', 'forged')]
  for (const { client } of nobodies) client.connect()
  await settle()
  t.equal(server.sessions().length, 4)
  const strangers = [open('f', 'x', { getToken: undefined }), open('g', 'x', { getToken: undefined })]
  for (const { client } of strangers) client.connect()
  await settle()
  t.equal(server.sessions().length, 5)
})

t.test('a session of another user dissolves the group, and each tab finds its own', async (t) => {
  const { server, open, settle, browser } = world(t)
  let token = 'ann'
  const [a, b] = [open('a', '', { getToken: () => token }), open('b')]
  await Promise.all([a.read('@me'), settle()])
  t.equal(browser.holder(leaderName), 'a')
  await Promise.all([b.read('@me'), settle()])
  t.equal(server.sessions().length, 1)
  // The token of the leading tab is now another user's, and its session is lost.
  token = 'bob'
  server.users.set('ann', 'bob')
  server.sessions()[0]!.core.end('unknown-session')
  server.users.set('later', 'ann')
  await settle(5_000)
  server.publish('@user:bob', 1)
  await settle()
  t.strictSame(a.client.userId, 'bob')
  t.strictSame(a.values['@me'], [1])
  t.equal(b.client.userId, 'bob', 'its token is that user’s as well')
  t.ok(
    browser.channels.every((name) => name.includes('bob')),
    'the group of the other user is left',
  )
})

t.test('what is no message of a tab is ignored, and a late one of an old leader too', async (t) => {
  const { server, open, settle, browser } = world(t)
  const [a, b] = [open('a'), open('b')]
  await Promise.all([a.read('hist:a'), settle()])
  await Promise.all([b.read('hist:a'), settle()])
  const [name] = browser.channels as [string]
  const frames = [[[1, 2], ['m', 'hist:a', 'n', 99, 0], '99', false]]
  const junk: unknown[] = [
    ...[null, 1, 'lead', [], {}, { kind: 'constructor' }, { kind: 'lead' }, { kind: 'join' }],
    { kind: 'lead', term: 1, seq: 1 },
    { kind: 'down', term: 1, seq: 1, frames },
    { kind: 'gone', term: 1, seq: 1, regroup: true },
    { kind: 'up', from: 'x', term: 1, session: 1, seq: 1, frames: [] },
    { kind: 'call', from: 'x', term: 1, id: 1, method: 'close', argument: '' },
  ]
  for (const message of junk) browser.shout(name, message)
  await settle()
  server.publish('hist:a', 1)
  await settle()
  for (const { values, gaps, states } of [a, b]) {
    t.strictSame([values, gaps], [{ 'hist:a': [1] }, []])
    t.equal(states.at(-1), 'connected')
    t.notOk(states.includes('reconnecting'))
  }
})

t.test('a message that is missed between tabs is found, and nothing is lost', async (t) => {
  const { server, open, settle, browser } = world(t)
  const [a, b] = [open('a'), open('b')]
  await Promise.all([a.read('hist:a'), settle()])
  await Promise.all([b.read('hist:a'), settle()])
  for (const kind of ['down', 'up']) {
    let dropped = 0
    browser.drop = (message) => (message as { kind: string }).kind === kind && dropped++ === 0
    server.publish('hist:a', 1)
    await settle()
    const published = b.client.channel('hist:a').publish('n', 2)
    server.publish('hist:a', 3)
    await settle()
    server.publish('hist:a', 4)
    if (kind === 'up') void b.client.channel('hist:a').publish('n', 5)
    await settle()
    await published
    t.ok(dropped > 0)
  }
  const offsets = b.values['hist:a']!
  t.strictSame(offsets, a.values['hist:a'])
  t.strictSame([a.gaps, b.gaps], [[], []])
})

t.test('an answer that is missed between tabs is known to be missed', async (t) => {
  const { server, open, settle, browser } = world(t)
  const [a, b] = [open('a'), open('b')]
  await Promise.all([a.read('hist:a'), settle()])
  await Promise.all([b.read('hist:a'), settle()])
  let dropped = 0
  browser.drop = (message) => (message as { kind: string }).kind === 'down' && dropped++ === 0
  const asked = t.rejects(b.client.request('echo', 1), { code: 'outcome-unknown' })
  await settle()
  t.equal(dropped, 1)
  server.publish('hist:a', 1)
  await settle()
  await asked
  t.strictSame([a.values, b.values], [{ 'hist:a': [1] }, { 'hist:a': [1] }])
})

t.test('what was never sent is known not to have happened, in a tab that follows too', async (t) => {
  const { server, open, settle, browser } = world(t)
  const [a, b] = [open('a'), open('b')]
  for (const { client } of [a, b]) client.connect()
  await settle()
  t.strictSame([a.client.state, b.client.state], ['connected', 'connected'])
  server.sessions()[0]!.cut()
  await settle(20)
  t.strictSame([a.client.state, b.client.state], ['reconnecting', 'reconnecting'])
  const follower = browser.holder(leaderName) === 'a' ? b : a
  const tried = follower.client.channel('hist:a').publish('n', 1, { timeoutMs: 10 })
  const rejected = t.rejects(tried, { code: 'timeout' })
  await settle(10)
  await rejected
  const kept = follower.client.request('echo', 1)
  await settle(5_000)
  t.equal(await kept, 1)
})

t.test('where sharing cannot be had a tab uses its own connection', async (t) => {
  const { server, open, settle } = world(t)
  const plain = open('a', 'ann', { shareTabs: true })
  plain.client.connect()
  server.whoFails = true
  const unheard = open('b')
  unheard.client.connect()
  await settle(2_000)
  t.strictSame(
    [plain, unheard].map(({ client }) => client.state),
    ['connected', 'connected'],
  )
  t.equal(server.sessions().length, 2)
  t.strictSame(unheard.states, ['connecting', 'connected'])
  const early = open('c')
  early.client.connect()
  early.client.close()
  await settle()
  t.equal(early.client.state, 'closed')
  t.equal(server.sessions().length, 2)
})

t.test('closing rejects what is open, leaves the others alone, and leaves nothing running', async (t) => {
  const { server, open, settle, clock, browser } = world(t)
  const [a, b] = [open('a'), open('b')]
  await Promise.all([a.read('hist:a'), settle()])
  await Promise.all([b.read('hist:a'), settle()])
  const asked = t.rejects(b.client.request('echo', 1), { code: 'closed' })
  b.client.close()
  b.client.close()
  await asked
  await settle()
  t.equal(a.client.state, 'connected')
  t.equal(server.sessions().length, 1)
  a.client.close()
  await settle()
  t.equal(server.sessions().length, 0)
  t.strictSame(browser.channels, [])
  t.ok([...browser.locks.values()].every(({ holder, queue }) => !holder && queue.length === 0))
  t.equal(clock.pending, 0)
})

const seeds = process.env.EVERWIRE_SEED ? [Number(process.env.EVERWIRE_SEED)] : upTo(30)

t.test('whatever tabs do, each gets every publication once and in order', async (t) => {
  const failed: string[] = []
  for (const seed of seeds) {
    const { server, open, clock, random, browser, settle } = world(t, seed)
    const channels = ['hist:a', 'hist:b']
    const numbers: Record<string, number> = { 'hist:a': 0, 'hist:b': 0 }
    const offsets: Record<string, number[]> = { 'hist:a': [0], 'hist:b': [0] }
    /** What a tab must have, by channel: everything after the number from which it reads. */
    const due = new Map<Tab, Record<string, number>>()
    const frozen = new Set<Tab>()
    let opened = 0
    const add = () => {
      const tab = open(`tab${++opened}`)
      const from: Record<string, number> = {}
      due.set(tab, from)
      for (const channel of channels) {
        const at = Math.floor(random() * (numbers[channel]! + 1))
        // Either from a number on, or from whatever is the newest then.
        if (random() < 0.5)
          void tab.read(channel, { epoch: 'e1', offset: offsets[channel]![at]! }).catch(() => {})
        else void tab.read(channel).catch(() => {})
      }
    }
    add()
    await settle(0)
    for (let step = 0; step < 150; step++) {
      const tabs = [...due.keys()]
      const tab = tabs[Math.floor(random() * tabs.length)]
      const dice = random()
      if (dice < 0.06 && tabs.length < 6) {
        add()
        await settle(0)
      } else if (dice < 0.09 && tab) {
        tab.page.kill()
        due.delete(tab)
      } else if (dice < 0.11 && tab) {
        tab.client.close()
        due.delete(tab)
      } else if (dice < 0.125 && tab && !frozen.has(tab)) {
        frozen.add(tab)
        tab.page.freeze()
      } else if (dice < 0.14) {
        for (const one of frozen) one.page.thaw()
        frozen.clear()
      } else if (dice < 0.16) server.sessions()[0]?.cut()
      else if (dice < 0.17) server.sessions()[0]?.core.end('unknown-session')
      else if (dice < 0.19 && tab) tab.page.tell('pagehide')
      else if (dice < 0.24 && tab) tab.page.tell('pageshow')
      else if (dice < 0.7) {
        const channel = channels[Math.floor(random() * 2)]!
        offsets[channel]!.push(server.publish(channel, ++numbers[channel]!))
      }
      await clock.advance(random() < 0.03 ? 10_000 : random() * 15)
    }
    for (const one of frozen) one.page.thaw()
    for (const { page } of due.keys()) page.tell('pageshow')
    await settle(60_000)
    for (const tab of due.keys())
      for (const channel of channels) {
        const values = tab.values[channel]!
        const first = values[0]
        const whole = first === undefined ? tab.client.channel(channel).subscribed : true
        const expected = first === undefined ? [] : upTo(numbers[channel]!, first)
        if (!whole || JSON.stringify(values) !== JSON.stringify(expected))
          failed.push(`seed ${seed}: ${tab.page.name} ${channel} of ${numbers[channel]}: ${values.join(' ')}`)
      }
    if (due.size > 0) {
      const living = server.sessions().filter(({ page }) => page.alive)
      if (living.length !== 1) failed.push(`seed ${seed}: ${living.length} sessions for ${due.size} tabs`)
      if (![...due.keys()].some(({ page }) => page.name === browser.holder(leaderName)))
        failed.push(
          `seed ${seed}: nobody leads ${[...due.keys()].map(({ client }) => client.state)} ${[...browser.locks].map(([n, l]) => [n, l.holder?.page.name, l.queue.length])} ${browser.channels}`,
        )
    }
    for (const tab of due.keys()) {
      if (tab.gaps.length > 0) failed.push(`seed ${seed}: ${tab.page.name} was told ${tab.gaps.join()}`)
      tab.client.close()
    }
  }
  t.strictSame(failed, [])
})
