import type { Cases } from './types.js'
import { createWorld, follow, names, plain, range, storeEach } from './world.js'

/** What is kept, for how long, and what is said of the rest. */
export const retentionCases: Cases = {
  async 'keeps so many of each channel, and says when something is missing'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const history = { size: 4, ttlMs: 600_000 }
    const offsets = await storeEach(bus, 'a:1', names(10), history)
    const read = async (after: number) => {
      const { publications, complete, tail } = await bus.read('a:1', history, { after, limit: 10 })
      t.ok(tail >= offsets.at(-1)!)
      return { found: publications.map(({ offset }) => offset), complete }
    }
    const kept = offsets.slice(-4)
    t.strictSame(await read(0), { found: kept, complete: false })
    for (const [index, offset] of offsets.entries()) {
      const page = await read(offset)
      t.strictSame(
        page.found,
        kept.filter((one) => one > offset),
      )
      // From the last that was removed on nothing is missing; a bus need not be able to prove it there.
      if (index !== offsets.length - 5)
        t.equal(page.complete, index >= offsets.length - 4, `after ${index + 1}`)
    }
    const before = await bus.read('a:1', history, { before: Number.MAX_SAFE_INTEGER, limit: 10 })
    t.strictSame(
      before.publications.map(({ offset }) => offset),
      kept,
    )
  },

  async 'a channel that lost nothing is complete, whatever its neighbours lost'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const history = { size: 4, ttlMs: 600_000 }
    for (const turn of range(1, 6)) await storeEach(bus, `lost:${turn}`, names(10), history)
    await storeEach(bus, 'kept:1', names(3), history)
    const { publications, complete } = await bus.read('kept:1', history, { after: 0, limit: 10 })
    t.strictSame([publications.length, complete], [3, true])
  },

  async 'keeps so long, partly and at last nothing, and never says that it was all'(t, suite) {
    const history = { size: 100, ttlMs: 1_000 }
    const world = await createWorld(t, suite, { dedupWindowMs: 500 })
    const { bus } = world
    const storedAt = new Map<number, number>()
    const store = async () => {
      const [offset] = await storeEach(bus, 'a:1', names(1), history)
      storedAt.set(offset!, world.now())
      return offset!
    }
    const first = [await store(), await store()]
    const half = world.now() + 700
    await world.later(() => world.now() >= half, 'a part of the time')
    const second = [await store(), await store()]
    const read = async (after: number) => {
      const { publications, complete, tail } = await bus.read('a:1', history, { after, limit: 10 })
      return { found: publications.map(({ offset }) => offset), complete, tail }
    }
    let page = await read(0)
    t.ok(page.found.length === 4 && page.complete, 'all of them')

    await world.later(async () => (page = await read(0)).found[0] !== first[0], 'the first gone')
    t.ok(world.now() - storedAt.get(first[0]!)! >= 950, 'not before its time')
    await world.later(async () => (page = await read(0)).found[0] === second[0], 'the first two gone')
    t.strictSame([page.found, page.complete, page.tail], [second, false, second[1]])
    t.equal((await read(first[0]!)).complete, false)
    t.strictSame(await read(second[0]!), { found: [second[1]!], complete: true, tail: second[1] })

    await world.later(async () => (page = await read(0)).found.length === 0, 'all gone')
    t.ok(world.now() - storedAt.get(second[1]!)! >= 950, 'not before its time')
    t.equal(page.complete, false)
    t.ok(page.tail >= second[1]!)
    for (const after of [...first, second[0]!]) t.equal((await read(after)).complete, false, `after ${after}`)
    const next = await store()
    t.ok(next > page.tail)
    t.strictSame((await read(0)).complete, false)
    t.strictSame(await read(page.tail), { found: [next], complete: true, tail: next })
  },

  async 'followers of a channel of which little is kept hear all'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const history = { size: 1, ttlMs: 600_000 }
    const followed = await follow(bus, 'a:1', history)
    const offsets = await storeEach(bus, 'a:1', names(20), history)
    await followed.came(20)
    t.strictSame(followed.offsets(), offsets)
    t.equal(followed.heard.length, 21, 'a start, and no gap')
  },

  async 'reading beside a fast publisher jumps over nothing in silence'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const history = { size: 8, ttlMs: 600_000 }
    const stored = await storeEach(bus, 'a:1', names(8), history)
    const flow = { on: true }
    const publishers = range(1, 4).map(async () => {
      while (flow.on) {
        stored.push((await bus.store('a:1', history, { event: 'e' })).offset)
        await new Promise((resolve) => setImmediate(resolve))
      }
    })
    const pages: { after: number; found: number[]; complete: boolean }[] = []
    for (const turn of range(1, 40)) {
      const after = stored.at(-(turn % 10) - 1) ?? 0
      const { publications, complete } = await bus.read('a:1', history, { after, limit: 8 })
      pages.push({ after, found: publications.map(({ offset }) => offset), complete })
      await new Promise((resolve) => setImmediate(resolve))
    }
    flow.on = false
    await Promise.all(publishers)
    stored.sort((a, b) => a - b)
    const silent = pages.filter(({ after, found, complete }) => {
      // What is not complete may begin anywhere, but goes on from there.
      const from = complete || found.length === 0 ? after : found[0]! - 1
      const wanted = stored.filter((offset) => offset > from).slice(0, found.length)
      return wanted.join() !== found.join()
    })
    t.strictSame(
      silent.slice(0, 3),
      [],
      `${silent.length} of ${pages.length} pages with a hole that is not told`,
    )
  },

  async 'a repeated id is stored once'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const followed = await follow(bus, 'a:1')
    const id = 'Zm9yIGVhY2ggdXNlciBhbmQgY2hhbm5lbA_-'
    const first = await bus.store('a:1', plain, { event: 'first' }, { id })
    const [between] = await storeEach(bus, 'a:1', ['between'])
    t.strictSame(await bus.store('a:1', plain, { event: 'again' }, { id }), first)
    t.strictSame(await bus.store('a:1', plain, { event: 'first' }, { id }), first)
    const [last] = await storeEach(bus, 'a:1', ['last'])
    await followed.came(3)
    t.strictSame(
      followed.publications.map(({ event, offset }) => [event, offset]),
      [
        ['first', first.offset],
        ['between', between],
        ['last', last],
      ],
    )
  },

  async 'repeats of an id at the same time are stored once'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const followed = await follow(bus, 'a:1')
    const ids = names(10, 'id')
    const positions = await Promise.all(
      range(1, 50).map((n) => bus.store('a:1', plain, { event: 'e' }, { id: ids[n % 10]! })),
    )
    const offsets = new Set(positions.map(({ offset }) => offset))
    t.equal(offsets.size, 10)
    for (const [n, { offset }] of positions.entries()) t.equal(offset, positions[n % 10]!.offset)
    await storeEach(bus, 'a:1', ['last'])
    await followed.came(11)
    t.equal(followed.publications.length, 11)
  },

  async 'without an id equal publications are stored each'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const offsets = await storeEach(bus, 'a:1', ['e', 'e', 'e'])
    t.equal(new Set(offsets).size, 3)
  },

  async 'after the dedup window an id is a new one'(t, suite) {
    const world = await createWorld(t, suite, { dedupWindowMs: 1_000 })
    const store = async () => (await world.bus.store('a:1', plain, { event: 'e' }, { id: 'x' })).offset
    const began = world.now()
    const first = await store()
    let latest = first
    await world.later(async () => (latest = await store()) !== first, 'stored again')
    t.ok(latest > first)
    t.ok(world.now() - began >= 950, 'not before its time')
  },
}
