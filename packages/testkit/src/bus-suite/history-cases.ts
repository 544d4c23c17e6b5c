import type { Cases } from './types.js'
import { createWorld, fieldsOf, follow, names, plain, range, rises, storeEach } from './world.js'
import { until } from '../transport-suite/until.js'

/** Storing, following and reading one channel. */
export const historyCases: Cases = {
  async 'offsets of a channel rise, whatever stands between them'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const offsets = new Map<string, number[]>()
    for (const turn of range(1, 12))
      for (const channel of ['a:1', 'b:1', 'c:1'].slice(turn % 3)) {
        const { offset } = await bus.store(channel, plain, { event: `${channel} ${turn}` })
        offsets.set(channel, [...(offsets.get(channel) ?? []), offset])
      }
    for (const [channel, stored] of offsets) {
      t.ok(stored[0]! > 0 && stored.every(Number.isSafeInteger) && rises(stored), stored.join())
      const { publications } = await bus.read(channel, plain, { after: 0, limit: 100 })
      t.strictSame(
        publications.map(({ offset }) => offset),
        stored,
      )
      t.ok(publications.every(({ event }) => event.startsWith(channel)))
    }
  },

  async 'all say the same epoch'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const epochs = [(await bus.read('a:1', plain, { after: 0, limit: 1 })).epoch]
    const { starts } = await follow(bus, 'a:1')
    for (const turn of range(1, 3)) epochs.push((await bus.store('a:1', plain, { event: `${turn}` })).epoch)
    epochs.push(starts[0]!.epoch, (await bus.read('a:1', plain, { before: 99, limit: 1 })).epoch)
    t.equal(new Set(epochs).size, 1, epochs.join())
  },

  async 'a follower hears its start first, then what is stored after it'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const before = await storeEach(bus, 'a:1', names(3))
    const followed = await follow(bus, 'a:1')
    t.equal(followed.starts.length, 1, 'by the time that following resolves')
    t.ok(followed.starts[0]!.offset >= before.at(-1)!)
    const after = await storeEach(bus, 'a:1', names(5))
    t.ok(after[0]! > followed.starts[0]!.offset)
    await followed.came(5)
    t.strictSame(followed.heard, [
      ['start', followed.starts[0]!.offset],
      ...after.map((offset) => ['publication', offset]),
    ])
  },

  async 'a follower of a channel that was never used hears the first publication'(t, suite) {
    const { bus } = await createWorld(t, suite)
    await storeEach(bus, 'other:1', names(5))
    const followed = await follow(bus, 'a:1')
    const [offset] = await storeEach(bus, 'a:1', names(1))
    await followed.came(1)
    t.strictSame([followed.offsets(), followed.heard.length], [[offset], 2])
    t.ok(offset! > followed.starts[0]!.offset)
  },

  async 'followers miss nothing and hear nothing twice while publications flow'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const stored: number[] = []
    const flow = { on: true }
    const publisher = async (name: string) => {
      for (let turn = 1; flow.on && turn <= 5_000; turn++) {
        const { offset } = await bus.store('a:1', { ...plain, size: 20_000 }, { event: `${name} ${turn}` })
        stored.push(offset)
        // Memory stores within microtasks: let others have their turn.
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    const publishers = ['x', 'y', 'z'].map(publisher)
    const followers: Awaited<ReturnType<typeof follow>>[] = []
    for (const turn of range(1, 20)) {
      const wanted = turn * 10
      await until(() => stored.length >= wanted, `${wanted} stored`)
      followers.push(await follow(bus, 'a:1', { ...plain, size: 20_000 }))
    }
    flow.on = false
    await Promise.all(publishers)
    stored.sort((a, b) => a - b)
    for (const { starts, heard, came, offsets } of followers) {
      const wanted = stored.filter((offset) => offset > starts[0]!.offset)
      await came(wanted.length)
      t.strictSame(offsets(), wanted)
      t.equal(heard.length, wanted.length + 1, 'a start, and no gap')
    }
  },

  async 'what a follower hears is what reading gives'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const followed = await follow(bus, 'a:1')
    await Promise.all(names(50).map((event) => bus.store('a:1', plain, { event, data: `"${event}"` })))
    await followed.came(50)
    const { publications } = await bus.read('a:1', plain, { after: followed.starts[0]!.offset, limit: 100 })
    const whole = publications.map(({ offset, ...message }) => [offset, fieldsOf(message)])
    t.strictSame(
      followed.publications.map(({ offset, ...message }) => [offset, fieldsOf(message)]),
      whole,
    )
  },

  async 'an undo ends one follower alone, at once; twice is safe'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const [first, second] = [await follow(bus, 'a:1'), await follow(bus, 'a:1')]
    await storeEach(bus, 'a:1', names(2))
    await Promise.all([first.came(2), second.came(2)])
    first.undo()
    first.undo()
    await storeEach(bus, 'a:1', names(3))
    await second.came(5)
    t.equal(first.publications.length, 2)
    const third = await follow(bus, 'a:1')
    second.undo()
    await storeEach(bus, 'a:1', names(1))
    await third.came(1)
    t.strictSame([first.publications.length, second.publications.length], [2, 5])
  },

  async 'a follower that undoes in the middle hears no more'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const heard: number[] = []
    let undo = () => {}
    undo = await bus.follow('a:1', plain, {
      start() {},
      publication({ offset }) {
        heard.push(offset)
        if (heard.length === 5) undo()
      },
      gap() {},
    })
    const other = await follow(bus, 'a:1')
    await Promise.all(names(60).map((event) => bus.store('a:1', plain, { event })))
    await other.came(60)
    t.strictSame(heard, other.offsets().slice(0, 5))
  },

  async 'a channel is read in parts, after an offset'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const offsets: number[] = []
    for (const turn of range(1, 60)) {
      offsets.push(...(await storeEach(bus, 'a:1', [`a${turn}`])))
      if (turn % 2) await storeEach(bus, 'b:1', [`b${turn}`])
    }
    for (const limit of [1, 7, 25, 60, 1_000]) {
      const found: number[] = []
      for (let after = 0; ;) {
        const page = await bus.read('a:1', plain, { after, limit })
        t.ok(page.complete && page.publications.length <= limit && page.tail >= offsets.at(-1)!)
        if (page.publications.length === 0) break
        found.push(...page.publications.map(({ offset }) => offset))
        after = found.at(-1)!
        if (limit === 1 && found.length === 20) break
      }
      t.strictSame(found, limit === 1 ? offsets.slice(0, 20) : offsets, `by ${limit}`)
    }
  },

  async 'reading stops where nothing more is needed'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const offsets = await storeEach(bus, 'a:1', names(30))
    for (const [from, to] of [
      [0, 3],
      [5, 6],
      [5, 25],
      [10, 10],
    ] as const) {
      const after = from === 0 ? 0 : offsets[from - 1]!
      const wanted = offsets.slice(from, to)
      const range = { after, limit: 100, to: offsets[to - 1]! }
      const found = (await bus.read('a:1', plain, range)).publications.map(({ offset }) => offset)
      // More is not forbidden, as long as it is what follows.
      t.strictSame(found.slice(0, wanted.length), wanted, `all from ${from} to ${to}`)
      t.strictSame(found, offsets.slice(from, from + found.length))
      const few = (await bus.read('a:1', plain, { ...range, limit: 2 })).publications
      t.strictSame(few.map(({ offset }) => offset).slice(0, Math.min(2, wanted.length)), wanted.slice(0, 2))
      t.ok(few.length <= 2)
    }
  },

  async 'a channel is read in parts, before an offset, from its newest'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const offsets: number[] = []
    for (const turn of range(1, 40)) {
      offsets.push(...(await storeEach(bus, 'a:1', [`a${turn}`])))
      await storeEach(bus, 'b:1', names(3))
    }
    for (const limit of [3, 15, 40, 1_000]) {
      let found: number[] = []
      for (let before = Number.MAX_SAFE_INTEGER; ;) {
        const { publications, tail } = await bus.read('a:1', plain, { before, limit })
        t.ok(tail >= offsets.at(-1)!)
        t.ok(publications.length <= limit)
        if (publications.length === 0) break
        found = [...publications.map(({ offset }) => offset), ...found]
        before = found[0]!
      }
      t.strictSame(found, offsets, `by ${limit}`)
    }
    t.strictSame((await bus.read('a:1', plain, { before: 1, limit: 5 })).publications, [])
    t.strictSame((await bus.read('a:1', plain, { before: 0, limit: 5 })).publications, [])
  },

  async 'an empty channel has a tail, after which the next publication comes'(t, suite) {
    const { bus } = await createWorld(t, suite)
    for (const neighbours of [0, 5]) {
      await storeEach(bus, 'other:1', names(neighbours))
      const channel = `a:${neighbours}`
      const empty = await bus.read(channel, plain, { after: 0, limit: 10 })
      t.strictSame([empty.publications, empty.complete], [[], true])
      t.strictSame((await bus.read(channel, plain, { before: 1_000, limit: 10 })).publications, [])
      const [offset] = await storeEach(bus, channel, names(1))
      t.ok(offset! > empty.tail)
      const page = await bus.read(channel, plain, { after: empty.tail, limit: 10 })
      t.strictSame(
        [page.publications.map((publication) => publication.offset), page.complete, page.tail],
        [[offset], true, offset],
      )
    }
  },

  async 'where a follower begins is no further than the tail, whatever its neighbours store'(t, suite) {
    const { bus } = await createWorld(t, suite)
    for (const channel of ['empty:1', 'used:1']) {
      if (channel === 'used:1') await storeEach(bus, channel, names(3))
      await storeEach(bus, 'other:1', names(5))
      const { starts, heard } = await follow(bus, channel)
      const page = await bus.read(channel, plain, { after: starts[0]!.offset, limit: 5 })
      t.ok(page.tail >= starts[0]!.offset, `${channel}: it begins at ${starts[0]!.offset} of ${page.tail}`)
      t.strictSame([page.publications, page.complete, heard.length], [[], true, 1])
    }
  },

  async 'channels of other history classes are apart, by the same rules'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const few = { size: 2, ttlMs: 600_000 }
    await bus.declare('few:*', few)
    await bus.declare('many:*', plain)
    await bus.declare('none:*', undefined)
    const followers = [await follow(bus, 'few:1', few), await follow(bus, 'many:1', plain)]
    await storeEach(bus, 'few:1', names(5, 'few'), few)
    await storeEach(bus, 'many:1', names(5, 'many'), plain)
    for (const { came } of followers) await came(5)
    t.equal((await bus.read('few:1', few, { after: 0, limit: 10 })).publications.length, 2)
    t.equal((await bus.read('many:1', plain, { after: 0, limit: 10 })).publications.length, 5)
  },
}
