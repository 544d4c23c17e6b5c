import type { Bus, Clock } from '@everwire/core'
import { memoryBus } from '@everwire/server'
import { createFakeClock, type FakeClock } from '@everwire/testkit'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import type { Signal } from '../src/server.js'
import { sharedBus, startNode, until, type Node } from './server-app.js'

interface Source {
  value: number
  reads: number
}

interface WatchingNode extends Node {
  source: Source
  subscribe(channel?: string): Promise<() => Promise<void>>
}

/** A node that reads a source of its own, which counts, of a value that the test sets. */
async function start(t: Test, clock: FakeClock, bus: Bus, poll: object = {}): Promise<WatchingNode> {
  const source: Source = { value: 0, reads: 0 }
  const channelOf = (request: { url: string }) => `orders:${request.url.split('/')[2]}`
  const node = await startNode(t, {
    bus,
    clock,
    routes(app) {
      const read = () => {
        source.reads++
        return { value: source.value }
      }
      app.get('/orders', { config: { poll: { channel: 'orders:all', source: read, ...poll } } }, async () =>
        read(),
      )
      app.get('/orders/:id', { config: { poll: { channel: channelOf, ...poll } } }, async () => read())
    },
  })
  return {
    ...node,
    source,
    // A reader without a library, with no session to keep.
    async subscribe(channel = 'orders:all') {
      const { app } = node
      if (!app.server.listening) await app.listen({ port: 0, host: '127.0.0.1' })
      const { port } = app.server.address() as AddressInfo
      const path = `/everwire/channels/${encodeURIComponent(channel)}?live=sse&offset=now`
      const request = httpRequest({ host: '127.0.0.1', port, path }).on('error', () => {})
      request.end()
      await until(() => app.everwire.subscribers(channel) === 1, 'it has a subscriber')
      return async () => {
        request.destroy()
        await until(() => app.everwire.subscribers(channel) === 0, 'it has none')
      }
    },
  }
}

async function world(t: Test, poll?: object) {
  const clock = createFakeClock()
  const bus = sharedBus(t, clock as Clock)
  return { clock: patient(clock), bus, start: (own = bus) => start(t, clock, own, poll) }
}

/** Requests inside the process take some turns of the event loop: time passes in small steps, with those between. */
function patient(clock: FakeClock): { advance(ms: number): Promise<void> } {
  return {
    async advance(ms) {
      for (let left = ms; left > 0; left -= 50) {
        await clock.advance(Math.min(left, 50))
        for (let turn = 0; turn < 20; turn++) await clock.settle()
      }
    },
  }
}

const published = async ({ app }: Node, channel = 'orders:all') =>
  (await app.everwire.history(channel)).publications.map(({ event, data }) => [
    event,
    (data as { data?: { value: number } }).data?.value,
  ])

t.test('nobody subscribed: nobody reads; then it is read, and what changes is published', async (t) => {
  const { clock, start } = await world(t)
  const node = await start()
  await clock.advance(5_000)
  t.equal(node.source.reads, 0)
  const leave = await node.subscribe()
  await clock.advance(250)
  t.strictSame(await published(node), [['snapshot', 0]])
  node.source.value = 1
  await clock.advance(100)
  t.strictSame(await published(node), [
    ['snapshot', 0],
    ['snapshot', 1],
  ])
  await clock.advance(1_000)
  t.equal((await published(node)).length, 2)
  t.match(node.app.pollingBridge.state().watched, [
    { channel: 'orders:all', leader: node.app.everwire.nodeId },
  ])
  await leave()
  await clock.advance(1_000)
  const { reads } = node.source
  await clock.advance(5_000)
  t.equal(node.source.reads, reads)
  t.strictSame(node.app.pollingBridge.state().watched, [])
})

t.test('one node reads for all', async (t) => {
  const { clock, start } = await world(t)
  const nodes = [await start(), await start(), await start()]
  for (const node of nodes) await node.subscribe()
  await clock.advance(2_000)
  const before = nodes.map(({ source }) => source.reads)
  await clock.advance(2_000)
  const reading = nodes.filter(({ source }, index) => source.reads > before[index]!)
  t.equal(reading.length, 1)
  const leaders = nodes.flatMap(({ app }) => app.pollingBridge.state().watched.map(({ leader }) => leader))
  t.strictSame(new Set(leaders), new Set([reading[0]!.app.everwire.nodeId]))
  t.equal(reading[0]!.app.everwire.nodeId, nodes.map(({ app }) => app.everwire.nodeId).sort()[0])
})

t.test('a leader that falls silent is followed by another within about three seconds', async (t) => {
  const { clock, bus, start } = await world(t)
  const silent = new Set<string>()
  const deafable = (name: string): Bus => ({
    ...bus,
    broadcast: async (channel, message) => {
      if (!silent.has(name)) await bus.broadcast(channel, message)
    },
    store: (channel, history, message, options) =>
      silent.has(name) ? new Promise(() => {}) : bus.store(channel, history, message, options),
  })
  const nodes = [await start(deafable('0')), await start(deafable('1'))]
  for (const node of nodes) await node.subscribe()
  await clock.advance(2_000)
  const ids = nodes.map(({ app }) => app.everwire.nodeId)
  const leader = ids[0]! < ids[1]! ? 0 : 1
  const other = nodes[1 - leader]!
  const { reads } = other.source
  await clock.advance(2_000)
  t.equal(other.source.reads, reads, 'it does not read')
  silent.add(String(leader))
  await clock.advance(2_000)
  t.equal(other.source.reads, reads, 'a short silence is a suspicion')
  await clock.advance(1_600)
  t.ok(other.source.reads > reads)
  other.source.value = 7
  await clock.advance(200)
  t.strictSame((await published(other)).at(-1), ['snapshot', 7])
})

t.test('a leader that closes says so, and another reads at once', async (t) => {
  const { clock, start } = await world(t)
  const nodes = [await start(), await start()]
  for (const node of nodes) await node.subscribe()
  await clock.advance(2_000)
  nodes.sort((one, two) => (one.app.everwire.nodeId < two.app.everwire.nodeId ? -1 : 1))
  const [leader, other] = nodes as [WatchingNode, WatchingNode]
  const { reads } = other.source
  const closing = leader.app.close()
  await clock.advance(600)
  t.ok(other.source.reads > reads)
  await clock.advance(60_000)
  await closing
})

t.test('a node that was never polled learns from another what its subscribers read', async (t) => {
  const { clock, start } = await world(t)
  const [polled, subscribed] = [await start(), await start()]
  await polled.app.inject('/orders/7?all=1')
  await subscribed.subscribe('orders:7?all=1')
  await clock.advance(2_000)
  t.ok(subscribed.source.reads > 0)
  t.equal(polled.source.reads, 1)
  subscribed.source.value = 3
  await clock.advance(200)
  t.strictSame((await published(subscribed, 'orders:7?all=1')).at(-1), ['snapshot', 3])
  // One that came later too.
  const later = await start()
  await later.subscribe('orders:7?all=1')
  await subscribed.app.close()
  await clock.advance(5_000)
  t.ok(later.source.reads > 0)
  t.equal(polled.source.reads, 1)
})

t.test('a signal is started while it is needed, and says when to read', async (t) => {
  const calls: string[] = []
  let changed = () => {}
  let fails = true
  const signal: Signal = async (given, { log }) => {
    calls.push('start')
    log('info', {}, 'listening')
    if (fails) throw new Error('no database')
    changed = given
    return () => calls.push('stop')
  }
  const { clock, start } = await world(t, { watchMs: false, signal })
  const node = await start()
  await clock.advance(1_000)
  t.strictSame(calls, [])
  const leave = await node.subscribe()
  await clock.advance(300)
  t.ok(calls.length > 0)
  fails = false
  await clock.advance(25_000)
  const { reads } = node.source
  await clock.advance(60_000)
  t.equal(node.source.reads, reads, 'nothing is read without it')
  node.source.value = 1
  changed()
  changed()
  await clock.advance(50)
  t.strictSame((await published(node)).at(-1), ['snapshot', 1])
  t.ok(node.source.reads - reads <= 2)
  await leave()
  await clock.advance(1_000)
  t.equal(calls.at(-1), 'stop')
  const after = node.source.reads
  changed()
  await clock.advance(50)
  t.equal(node.source.reads, after)
})

t.test('a signal during a read reads once more', async (t) => {
  const reads: (() => void)[] = []
  let changed = () => {}
  const source = () => new Promise((resolve) => reads.push(() => resolve({ value: 1 })))
  const signal: Signal = (given) => {
    changed = given
    return () => {}
  }
  const { clock, start } = await world(t, { watchMs: false, source, signal })
  const node = await start()
  await node.subscribe()
  await clock.advance(300)
  // The first, and the one for what changed before the signal was heard.
  for (let read = 0; read < 2; read++) {
    reads.at(-1)!()
    await clock.advance(50)
  }
  t.equal(reads.length, 2)
  changed()
  await clock.advance(50)
  t.equal(reads.length, 3)
  changed()
  changed()
  reads[2]!()
  await clock.advance(50)
  t.equal(reads.length, 4)
  reads[3]!()
  await clock.advance(50)
  t.equal(reads.length, 4)
})

t.test('with a signal it is read all the same now and then; false is never', async (t) => {
  for (const [poll, expected] of [
    [{ signal: () => () => {} }, 13],
    [{ watchMs: false }, 0],
    [{ watchMs: 1_000 }, 60],
  ] as const) {
    const { clock, start } = await world(t, poll)
    const node = await start()
    await node.subscribe()
    await clock.advance(59_000)
    t.ok(Math.abs(node.source.reads - expected) <= 5, `${node.source.reads} of ${expected}`)
  }
})

t.test('a source that fails is read less often, and told once', async (t) => {
  const { clock, start } = await world(t, {
    source: () => {
      throw new Error('no database')
    },
  })
  const node = await start()
  await node.subscribe()
  await clock.advance(60_000)
  const text = await node.app.everwire.metrics.getSingleMetricAsString('everwire_bridge_reads_total')
  const reads = Number(/failed"} (\d+)/.exec(text)![1])
  t.ok(reads > 2 && reads < 40, `${reads} reads in a minute`)
  t.equal(node.logs.filter(({ msg }) => msg === 'polling-bridge: read failed').length, 1)
  t.strictSame(await published(node), [])
})

t.test('a watched channel leaves nothing running', async (t) => {
  const clock = createFakeClock()
  const node = await start(t, clock, memoryBus({ clock }))
  await node.subscribe()
  await patient(clock).advance(1_000)
  t.ok(node.source.reads > 5)
  const closing = node.app.close()
  await patient(clock).advance(60_000)
  await closing
  t.equal(clock.pending, 0)
})
