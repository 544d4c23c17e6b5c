import { randomBase32, systemClock, type Bus } from '@everwire/core'
import { connect } from '@nats-io/transport-node'
import t, { type Test } from 'tap'
import {
  broadcastUntilHeard,
  follow,
  listen,
  openBus,
  openOnEach,
  outcome,
  pause,
  plain,
  range,
  silentLiveLoss,
  silentLoss,
  startServers,
  until,
} from './experiment.js'

const startCluster = (t: Test) => startServers(t, { servers: 3, proxyRoutes: true })

const stored = async (bus: Bus, channel: string) =>
  (await bus.read(channel, plain, { after: 0, limit: 10_000 })).publications

t.test('nodes that are the first, all at once, agree on what they make', async (t) => {
  const nats = await startCluster(t)
  const prefix = `c-${randomBase32(6)}`
  const began = systemClock.now()
  const buses = await Promise.all(nats.servers.map(({ url }) => openBus(t, { servers: url, prefix })))
  const opened = systemClock.now()
  await Promise.all(buses.map((bus) => bus.declare('a:*', plain)))
  t.comment(
    `opened in ${Math.round(opened - began)} ms, declared in ${Math.round(systemClock.now() - opened)} ms`,
  )
  const followed = await Promise.all(buses.map((bus) => follow(bus, 'a:1')))
  const { offset } = await buses[0]!.store('a:1', plain, { event: 'e' })
  for (const { offsets } of followed)
    await until(
      () => offsets()[0] === offset,
      () => 'the first',
    )
})

t.test('X3: with slow routes, what is published once subscribing has resolved is heard', async (t) => {
  const nats = await startCluster(t)
  const { buses } = await openOnEach(t, nats)
  const [here, , there] = buses as [Bus, Bus, Bus]
  nats.routes!.delay(40)
  await Promise.all(
    range(1, 40).map(async (n) => {
      const listened = await listen(here, `live:${n}`)
      await there.broadcast(`live:${n}`, { event: 'at once' })
      await until(
        () => listened.events().length > 0,
        () => `live:${n}`,
      )
      t.strictSame(listened.events(), ['at once'])
    }),
  )
  await Promise.all(
    range(1, 40).map(async (n) => {
      const followed = await follow(here, `history:${n}`)
      const { offset } = await there.store(`history:${n}`, plain, { event: 'at once' })
      await until(
        () => followed.offsets().length > 0,
        () => `history:${n}`,
      )
      t.strictSame([followed.offsets(), followed.gaps()], [[offset], []])
    }),
  )
})

t.test('X9: what is acknowledged is read at once, at every server', async (t) => {
  const nats = await startCluster(t)
  const { buses } = await openOnEach(t, nats)
  nats.routes!.delay(10)
  const stale: string[] = []
  for (const n of range(1, 30)) {
    const { offset } = await buses[n % 3]!.store('a:1', plain, { event: `e${n}` })
    const pages = await Promise.all(
      buses.map((bus) => bus.read('a:1', plain, { after: offset - 1, limit: 5 })),
    )
    for (const [node, { publications, tail }] of pages.entries())
      if (publications[0]?.offset !== offset || tail < offset) stale.push(`${n} at ${node}: tail ${tail}`)
  }
  t.strictSame(stale, [])
})

t.test('X4: routes are cut: live losses are told, history has none', async (t) => {
  const nats = await startCluster(t)
  const { buses } = await openOnEach(t, nats)
  const listened = await Promise.all(buses.map((bus) => listen(bus, 'live:1')))
  const followed = await Promise.all(buses.map((bus) => follow(bus, 'a:1')))
  const sent = new Map(buses.map((_, node) => [`${node}`, [] as number[]]))
  const count = () => [...sent.values()].reduce((sum, { length }) => sum + length, 0)
  const accepted: number[] = []
  const flow = { on: true }
  const publishing = buses.map(async (bus, node) => {
    for (let n = 1; flow.on; n++) {
      if ((await outcome(bus.broadcast('live:1', { event: `${node} ${n}` }))) === 'ok')
        sent.get(`${node}`)!.push(n)
      await bus.store('a:1', plain, { event: `${node} ${n}` }).then(
        ({ offset }) => accepted.push(offset),
        () => {},
      )
      await pause(5)
    }
  })
  const some = async () => {
    const goal = count() + 60
    await until(
      () => count() >= goal,
      () => `${count()} of ${goal}`,
    )
  }
  await some()
  nats.routes!.cut('n1', 'n2')
  await pause(2_000)
  nats.routes!.heal()
  await nats.ready()
  await some()
  flow.on = false
  await Promise.all(publishing)

  for (const [node, bus] of buses.entries())
    await broadcastUntilHeard(bus, 'live:1', (turn) => `${node} ${1_000_000 + turn}`, listened)
  for (const [node, one] of listened.entries()) {
    t.strictSame(silentLiveLoss(one, sent), [], `at ${node}`)
    t.comment(`of ${count()} came ${one.events().length} at ${node}, with ${one.gaps()} gaps`)
  }
  const truth = (await stored(buses[0]!, 'a:1')).map(({ offset }) => offset)
  t.strictSame(
    accepted.filter((offset) => !truth.includes(offset)),
    [],
    'what was acknowledged stands in the stream',
  )
  for (const one of followed) {
    await until(
      () => one.offsets().at(-1) === truth.at(-1),
      () => `${one.offsets().at(-1)} of ${truth.at(-1)}`,
    )
    t.equal(silentLoss(one, truth), undefined)
    t.strictSame(one.gaps(), [])
  }
})

t.test('X4: the loss of the last live publication is told, though nothing follows', async (t) => {
  const nats = await startCluster(t)
  const { buses } = await openOnEach(t, nats)
  const [here, there] = buses as [Bus, Bus]
  const [listened, other] = [await listen(there, 'live:1'), await listen(there, 'live:2')]
  await broadcastUntilHeard(here, 'live:1', (turn) => `p ${turn}`, [listened])
  nats.routes!.cut('n1', 'n2')
  await pause(500)
  await here.broadcast('live:1', { event: 'last' })
  await pause(500)
  nats.routes!.heal()
  await until(
    () => listened.gaps() > 0,
    () => JSON.stringify(listened.heard),
  )
  t.notOk(listened.events().includes('last'))
  t.strictSame(other.heard, [], 'where nothing was lost nothing is told')
})

t.test('X15: while the server of a node restarts, nobody takes the node for dead', async (t) => {
  const nats = await startCluster(t)
  const { buses } = await openOnEach(t, nats)
  const [here, there] = buses as [Bus, Bus]
  const server = nats.servers[1]!
  await server.kill()
  // What began while it was away may wait or be refused; once it resolves, nothing may be missed.
  const listening = range(1, 10).map(async (n) => {
    const channel = `live:${n}`
    for (;;) {
      const attempt = await listen(here, channel).catch(() => undefined)
      if (attempt) return { channel, ...attempt }
    }
  })
  await server.start()
  const listened = await Promise.all(listening)
  for (const { channel } of listened)
    await until(
      async () => (await outcome(there.broadcast(channel, { event: 'after' }))) === 'ok',
      () => `${channel} published`,
    )
  for (const { channel, heard } of listened) {
    await until(
      () => heard.length > 0,
      () => `${channel}: neither heard nor told`,
    )
    t.ok(heard.length > 0, channel)
  }
  await nats.ready()
})

t.test('what a node published first is lost with its server only, and told then', async (t) => {
  const nats = await startCluster(t)
  const prefix = `c-${randomBase32(6)}`
  const [one, two] = nats.servers
  /** A node that dies without a good-bye when its connection is closed. */
  const openMortal = async () => {
    const connection = await connect({ servers: one!.url, reconnect: false })
    return { connection, bus: await openBus(t, { connection, prefix }) }
  }
  const [first, second] = [await openMortal(), await openMortal()]
  const here = await openBus(t, { servers: two!.url, prefix })
  const [heard, quiet] = [await listen(here, 'live:1'), await listen(here, 'live:2')]
  const told = ({ gaps, heard }: typeof quiet) =>
    until(
      () => gaps() > 0,
      () => JSON.stringify(heard),
    )
  await broadcastUntilHeard(first.bus, 'live:1', (turn) => `${turn}`, [heard])
  await first.connection.close()
  await told(heard)
  t.strictSame(quiet.heard, [], 'another node tells that the server outlived it')

  nats.routes!.cut('n1', 'n2')
  nats.routes!.cut('n1', 'n3')
  await second.bus.broadcast('live:2', { event: 'accepted by n1' })
  await one!.kill()
  await told(quiet)
  t.strictSame(quiet.events(), [])
})
