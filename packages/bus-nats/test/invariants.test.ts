import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { systemClock, type StoredPublication } from '@everwire/core'
import { connect } from '@nats-io/transport-node'
import t, { type Test } from 'tap'
import {
  broadcastUntilHeard,
  createWire,
  follow,
  listen,
  openBus,
  outcome,
  pause,
  plain,
  range,
  silentLiveLoss,
  silentLoss,
  startServers,
  until,
  withoutRepublications,
} from './experiment.js'

const bare = async (t: Test, url: string) => {
  const connection = await connect({ servers: url })
  t.teardown(() => connection.close())
  return connection
}

t.test('15: a live publication that was acknowledged is heard, or its loss is told', async (t) => {
  const { url, servers } = await startServers(t)
  const [reader, ...publishers] = await Promise.all(range(0, 2).map(() => openBus(t, { servers: url })))
  const listened = await listen(reader!, 'live:1')
  const acknowledged = new Map<string, number[]>()
  const count = () => [...acknowledged.values()].reduce((sum, { length }) => sum + length, 0)
  const flow = { on: true }
  const publishing = publishers.map(async (bus, index) => {
    const mine: number[] = []
    acknowledged.set(`p${index}`, mine)
    for (let n = 1; flow.on; n++) {
      if ((await outcome(bus.broadcast('live:1', { event: `p${index} ${n}` }))) === 'ok') mine.push(n)
      await new Promise((resolve) => setImmediate(resolve))
    }
  })
  const more = async () => {
    const goal = count() + 400
    await until(
      () => count() >= goal,
      () => `${count()} of ${goal}`,
    )
  }
  for (let crashes = 0; crashes < 4; crashes++) {
    await more()
    await servers[0]!.kill()
    await servers[0]!.start()
  }
  await more()
  flow.on = false
  await Promise.all(publishing)
  for (const [index, bus] of publishers.entries())
    await broadcastUntilHeard(bus, 'live:1', (turn) => `p${index} ${1_000_000 + turn}`, [listened])
  t.strictSame(silentLiveLoss(listened, acknowledged), [])
  t.comment(`${count()} acknowledged, ${listened.events().length} heard, ${listened.gaps()} gaps`)
})

t.test('15: the loss of the last live publication is told, though nothing follows', async (t) => {
  const { url } = await startServers(t)
  const wire = await createWire(t, url)
  const [reader, publisher] = [await openBus(t, { servers: wire.url }), await openBus(t, { servers: url })]
  const [listened, other] = [await listen(reader, 'live:1'), await listen(reader, 'live:2')]
  await broadcastUntilHeard(publisher, 'live:1', (turn) => `p ${turn}`, [listened])
  for (let round = 1; round <= 3; round++) {
    wire.cut()
    await publisher.broadcast('live:1', { event: `p ${100 + round}` })
    const told = () => listened.gaps() > 0 || listened.events().at(-1) === `p ${100 + round}`
    await until(told, () => `round ${round}: ${listened.events().join()}`)
    const through = listened.gaps() > 0 ? listened.through() : undefined
    listened.heard.length = 0
    await broadcastUntilHeard(publisher, 'live:1', (turn) => `p ${200 * round + turn}`, [listened])
    const next = listened.heard.find((one) => one !== 'gap')
    if (through && next) t.equal(next.previous, through.number, 'the gap says how far it goes')
    listened.heard.length = 0
  }
  t.strictSame(other.heard, [], 'where nothing was lost nothing is told')
})

t.test('13: through crashes nothing acknowledged is lost, doubled or out of order', async (t) => {
  const { url, servers } = await startServers(t)
  const buses = await Promise.all(range(1, 3).map(() => openBus(t, { servers: url })))
  const followed = await Promise.all(buses.map((bus) => follow(bus, 'a:1')))
  const stored: { offset: number; event: string }[] = []
  const flow = { on: true }
  let longest = 0
  const publishing = buses.map(async (bus, node) => {
    let last = 0
    for (let n = 1; flow.on; n++) {
      const event = `${node} ${n}`
      const began = systemClock.now()
      const { offset } = await bus.store('a:1', plain, { event }, { id: event })
      longest = Math.max(longest, systemClock.now() - began)
      if (offset <= last) t.fail(`${offset} after ${last} of one publisher`)
      last = offset
      stored.push({ offset, event })
      await new Promise((resolve) => setImmediate(resolve))
    }
  })
  for (const round of range(1, 4)) {
    const goal = stored.length + 150
    await until(
      () => stored.length >= goal,
      () => `round ${round}: ${stored.length}`,
    )
    await servers[0]!.kill()
    await servers[0]!.start()
  }
  const goal = stored.length + 150
  await until(
    () => stored.length >= goal,
    () => `${stored.length}`,
  )
  flow.on = false
  await Promise.all(publishing)
  stored.sort((a, b) => a.offset - b.offset)
  const truth: StoredPublication[] = []
  for (;;) {
    const after = truth.at(-1)?.offset ?? 0
    const page = await buses[0]!.read('a:1', plain, { after, limit: 1_000 })
    if (page.publications.length === 0) break
    truth.push(...page.publications)
  }
  const brief = (all: readonly { offset: number; event: string }[]) =>
    all.map(({ offset, event }) => `${offset} ${event}`)
  t.strictSame(brief(truth), brief(stored), 'each acknowledged stands in the stream once')
  for (const one of followed) {
    await until(
      () => one.offsets().at(-1) === truth.at(-1)!.offset,
      () => `${one.offsets().at(-1)}`,
    )
    t.equal(
      silentLoss(
        one,
        truth.map(({ offset }) => offset),
      ),
      undefined,
    )
    t.strictSame([one.offsets().length, one.gaps()], [truth.length, []])
  }
  t.comment(`${truth.length} through three crashes; the longest wait was ${Math.round(longest)} ms`)
})

t.test('25: idle channels cost a request per stream and check period, however many they are', async (t) => {
  const nats = await startServers(t)
  const [partitions, checkPeriodMs, beatMs] = [4, 500, 500]
  const bus = await openBus(t, { servers: nats.url, partitions, checkPeriodMs, beatMs })
  const channels = range(1, 3_000).map((n) => `idle:${n}`)
  await Promise.all(channels.map((channel) => follow(bus, channel)))
  const messages = async () => ((await nats.servers[0]!.monitor('/varz')) as { in_msgs: number }).in_msgs
  const measure = async () => {
    const [before, began] = [await messages(), systemClock.now()]
    await until(
      () => systemClock.now() - began > 3 * checkPeriodMs,
      () => 'three periods',
    )
    return ((await messages()) - before) / ((systemClock.now() - began) / 1_000)
  }
  const allowed = partitions / (checkPeriodMs / 1_000) + 1_000 / beatMs
  let idle = 0
  // What following asked for may still be under way at first.
  await until(
    async () => (idle = await measure()) <= allowed * 1.3,
    () => `${idle.toFixed(1)} messages/s, allowed are ${allowed}`,
    8_000,
  )
  t.pass(`${idle.toFixed(1)} messages/s`)
  const flow = { on: true }
  const busy = (async () => {
    while (flow.on) {
      await bus.store('idle:1', plain, { event: 'e' })
      await pause(50)
    }
  })()
  const one = await measure()
  flow.on = false
  await busy
  t.comment(
    `${idle.toFixed(1)} messages/s idle, ${one.toFixed(0)} with one busy channel of ${channels.length}`,
  )
})

t.test('26: what is kept of a publication is its own bytes', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const { url } = await startServers(t)
  const [publisher, reader] = [await openBus(t, { servers: url }), await openBus(t, { servers: url })]
  const count = 4_000
  const kept: StoredPublication[] = []
  const keptLive: unknown[] = []
  await reader.follow('a:1', plain, { start() {}, publication: (one) => void kept.push(one), gap() {} })
  await reader.listen('a:1', { publication: (one) => void keptLive.push(one), gap() {} })
  const external = () => {
    collect()
    const { external, arrayBuffers } = process.memoryUsage()
    return Math.max(external, arrayBuffers)
  }
  const measure = async (act: () => Promise<void>, what: string) => {
    const before = external()
    await act()
    const each = (external() - before) / count
    t.ok(each <= 1_024, `${what}: ${Math.round(each)} bytes each`)
    t.comment(`${what}: ${Math.round(each)} bytes of external memory each`)
  }
  const data = `"${'x'.repeat(126)}"`
  await measure(async () => {
    for (let sent = 0; sent < count; sent += 100)
      await Promise.all(range(1, 100).map(() => publisher.store('a:1', plain, { event: 'e', data })))
    await until(
      () => kept.length >= count,
      () => `${kept.length}`,
    )
  }, 'followed')
  await measure(async () => {
    for (let sent = 0; sent < count; sent += 100)
      await Promise.all(range(1, 100).map(() => publisher.broadcast('a:1', { event: 'e', data })))
    await until(
      () => keptLive.length >= count,
      () => `${keptLive.length}`,
    )
  }, 'live')
  await measure(async () => {
    const { publications } = await reader.read('a:1', plain, { after: 0, limit: count })
    t.equal(publications.length, count)
    kept.push(...publications)
  }, 'read')
  t.equal(kept.length + keptLive.length, 3 * count)
})

t.test('19: what is acknowledged arrives within a check period, were every republication lost', async (t) => {
  const { url } = await startServers(t)
  const publisher = await openBus(t, { servers: url })
  const connection = withoutRepublications(await bare(t, url))
  const checkPeriodMs = 500
  const reader = await openBus(t, { connection, checkPeriodMs, partitions: 1 })
  const followed = await Promise.all(range(1, 20).map((n) => follow(reader, `a:${n}`)))
  for (const turn of range(1, 3)) {
    const stored = await Promise.all(
      followed.map((_, n) => publisher.store(`a:${n + 1}`, plain, { event: `e${turn}` })),
    )
    const began = systemClock.now()
    for (const [n, { offset }] of stored.entries())
      await until(
        () => followed[n]!.offsets().at(-1) === offset,
        () => `a:${n + 1}`,
      )
    const took = systemClock.now() - began
    t.ok(took < checkPeriodMs + 250, `${Math.round(took)} ms`)
  }
  for (const { gaps, offsets } of followed) t.strictSame([gaps(), offsets().length], [[], 3])
})
