import t from 'tap'
import { startNode } from './memory-transport.js'

// What a node keeps, and what it does when that is too much.

const large = 'x'.repeat(10_000)

t.test('a budget for all sessions: the longest without a link ends first', async (t) => {
  const { app, clock, connect } = await startNode(t, { outboxBudgetBytes: 45_000 })
  app.everwire.channel('h:*', { history: { size: 10 }, subscribe: true })
  const [first, second, third] = [await connect(), await connect(), await connect()]
  for (const [peer, channel] of [
    [first, 'h:1'],
    [second, 'h:2'],
    [third, 'h:3'],
  ] as const)
    await peer.ask(['sub', channel])
  first.cut()
  await clock.advance(10)
  second.cut()
  await clock.advance(10)
  // 20 KB for each of the two that are away: just within the budget.
  for (const channel of ['h:1', 'h:1', 'h:2', 'h:2']) await app.everwire.publish(channel, 'n', large)
  t.equal(app.everwire.sessions().length, 3)
  await app.everwire.publish('h:3', 'n', large)
  t.equal(app.everwire.sessions().length, 2)
  t.equal((await first.again()).others[0]!.header[1], 'unknown-session', 'it recovers by position')
  const back = await second.again()
  t.equal(back.others[0]!.header[0], 'welcome')
  t.equal(back.seen.length, 2)
  t.equal(third.over, false)
})

t.test('a publication that many keep counts once', async (t) => {
  const { app, clock, connect } = await startNode(t, { outboxBudgetBytes: 15_000 })
  app.everwire.channel('h:*', { history: { size: 10 }, subscribe: true })
  const peers = await Promise.all(Array.from({ length: 20 }, () => connect()))
  for (const peer of peers) await peer.ask(['sub', 'h:1'])
  for (const peer of peers) peer.cut()
  await clock.advance(10)
  await app.everwire.publish('h:1', 'n', large)
  t.equal(app.everwire.sessions().length, 20)
  await app.everwire.publish('h:1', 'n', large)
  t.equal(app.everwire.sessions().length, 0, 'all keep the same, so it goes with the last of them')
})

t.test('without anyone away, the session that keeps most ends', async (t) => {
  const { app, connect } = await startNode(t, { outboxBudgetBytes: 40_000 })
  app.everwire.channel('h:*', { history: { size: 10 }, subscribe: true })
  const [slow, quick] = [await connect(), await connect()]
  await slow.ask(['sub', 'h:1'])
  await quick.ask(['sub', 'h:2'])
  slow.block()
  for (let n = 0; n < 6; n++) await app.everwire.publish('h:1', 'n', large)
  await app.everwire.publish('h:2', 'n', 'small')
  await quick.ask(['req', 'none'])
  t.same(quick.seen, [['n', 'small']])
  t.equal(quick.over, false)
  t.equal(app.everwire.sessions().length, 1)
})

t.test('operations behind a slow hook are bounded by count and by bytes', async (t) => {
  for (const [options, fits] of [
    [{ maxOperations: 3 }, 3],
    [{ maxOperationBytes: 25_000 }, 2],
  ] as const) {
    const { app, connect } = await startNode(t, options)
    let allow = () => {}
    const allowed = new Promise<void>((resolve) => (allow = resolve))
    app.everwire.channel('h:*', { history: {}, publish: () => allowed.then(() => true) })
    const peer = await connect()
    const answers = Array.from({ length: 5 }, (_, i) =>
      peer.ask(['pub', `h:${i}`, 'n', `id${i}`], JSON.stringify(large)),
    )
    for (const answer of answers.slice(fits))
      t.match((await answer).header, ['err', Number, 'too-many-operations'])
    allow()
    for (const answer of answers.slice(0, fits)) t.equal((await answer).header[0], 'ack')
    t.equal((await peer.ask(['pub', 'h:1', 'n', 'again'], JSON.stringify(large))).header[0], 'ack')
  }
})

t.test('what comes before a link is authenticated is bounded by bytes', async (t) => {
  const { connect, clock } = await startNode(t, { authenticate: () => new Promise(() => {}) })
  const peer = await connect()
  for (let n = 0; n < 26; n++) peer.send(['pub', 'h:1', 'n', `${n}`], JSON.stringify(large))
  await clock.settle()
  t.equal(peer.over, false)
  peer.send(['pub', 'h:1', 'n', '26'], JSON.stringify(large))
  await clock.settle()
  t.equal(peer.over, true)
  t.match(
    peer.others.map(({ header }) => header.slice(0, 2)),
    [['refuse', 'bad-frame']],
  )
})

t.test('options that are wrong are refused at once, each by its name', async (t) => {
  for (const [options, message] of [
    [{ transports: [] }, /at least one transport/],
    [{ authenticate: undefined }, /authenticate: \(\) => \(\{ userId: null \}\)/],
    [{ prefix: 'everwire' }, /prefix must be a path/],
    [{ origins: ['app.example.com'] }, /origins must be/],
    [{ heartbeatMs: 0 }, /heartbeatMs must be a whole number from 1/],
    [{ frameBytes: 100 }, /frameBytes must be 2048 or more/],
  ] as const)
    await t.rejects(startNode(t, options as object), { message })
})
