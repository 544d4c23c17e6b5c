import { isChained } from './live-cases.js'
import type { Cases } from './types.js'
import {
  createWorld,
  fieldsOf,
  follow,
  listen,
  names,
  plain,
  range,
  rejection,
  rises,
  storeEach,
  type Followed,
} from './world.js'

/** Several buses on one backend. */
export const nodeCases: Cases = {
  async 'what one publishes all hear'(t, suite) {
    const { buses } = await createWorld(t, suite, { nodes: 3 })
    const followed = await Promise.all(buses.map((bus) => follow(bus, 'a:1')))
    const listened = await Promise.all(buses.map((bus) => listen(bus, 'a:1')))
    for (const [index, bus] of buses.entries()) {
      await storeEach(bus, 'a:1', [`stored by ${index}`])
      await bus.broadcast('a:1', { event: `live by ${index}` })
    }
    for (const { came, publications } of followed) {
      await came(3)
      t.strictSame(
        publications.map(({ event }) => event),
        range(0, 2).map((n) => `stored by ${n}`),
      )
    }
    for (const { came, events } of listened) {
      await came(3)
      t.strictSame(
        events().sort(),
        range(0, 2).map((n) => `live by ${n}`),
      )
    }
  },

  async 'two subscribers anywhere have the same under an offset, in the same order'(t, suite) {
    const { buses } = await createWorld(t, suite, { nodes: 3 })
    const early = await Promise.all(buses.map((bus) => follow(bus, 'a:1')))
    const late: Followed[] = []
    const flows = buses.map(async (bus, node) => {
      for (const n of range(1, 60)) {
        await bus.store('a:1', plain, { event: `${node} ${n}`, data: `${n}` })
        if (n % 20 === node) late.push(await follow(bus, 'a:1'))
      }
    })
    await Promise.all(flows)
    const page = await buses[0]!.read('a:1', plain, { after: 0, limit: 1_000 })
    const wanted = page.publications.map(({ offset, ...message }) => ({ offset, ...fieldsOf(message) }))
    t.equal(wanted.length, 180)
    for (const { starts, publications, heard, came } of [...early, ...late]) {
      const mine = wanted.filter(({ offset }) => offset > starts[0]!.offset)
      await came(mine.length)
      t.strictSame(
        publications.map(({ offset, ...message }) => ({ offset, ...fieldsOf(message) })),
        mine,
      )
      t.equal(heard.length, mine.length + 1, 'no gap')
    }
    for (const { offsets } of early) t.equal(offsets().length, 180)
  },

  async 'live publications keep the order of each publisher'(t, suite) {
    const { buses } = await createWorld(t, suite, { nodes: 3 })
    const listened = await Promise.all(buses.map((bus) => listen(bus, 'a:1')))
    await Promise.all(
      buses.map(async (bus, node) => {
        for (const n of range(1, 100)) {
          await bus.broadcast('a:1', { event: `${node} ${n}` })
          if (n % 5 === 0) await bus.broadcast(`elsewhere:${node}`, { event: 'e' })
        }
      }),
    )
    for (const { came, publications, events, gaps } of listened) {
      await came(300)
      t.strictSame([publications.length, gaps()], [300, 0])
      t.equal(new Set(publications.map(({ run }) => run)).size, 3)
      t.ok(isChained(publications))
      for (const node of range(0, 2))
        t.strictSame(
          events().filter((event) => event.startsWith(`${node} `)),
          range(1, 100).map((n) => `${node} ${n}`),
        )
    }
  },

  async 'nothing is missed that is published elsewhere once subscribing has resolved'(t, suite) {
    const { buses } = await createWorld(t, suite, { nodes: 2 })
    const [here, there] = [buses[0]!, buses[1]!]
    await Promise.all(
      range(1, 200).map(async (n) => {
        const listened = await listen(here, `live:${n}`)
        await there.broadcast(`live:${n}`, { event: 'at once' })
        await listened.came(1)
        const followed = await follow(here, `history:${n}`)
        const [offset] = await storeEach(there, `history:${n}`, ['at once'])
        await followed.came(1)
        t.strictSame([listened.events(), followed.offsets()], [['at once'], [offset]])
      }),
    )
  },

  async 'an id is recognised wherever it is repeated'(t, suite) {
    const { buses } = await createWorld(t, suite, { nodes: 3 })
    const followed = await Promise.all(buses.map((bus) => follow(bus, 'a:1')))
    const ids = names(20, 'id')
    const positions = await Promise.all(
      ids.flatMap((id) => buses.map((bus) => bus.store('a:1', plain, { event: id }, { id }))),
    )
    t.equal(new Set(positions.map(({ epoch }) => epoch)).size, 1)
    const offsets = positions.map(({ offset }) => offset)
    for (const index of ids.keys()) t.equal(new Set(offsets.slice(index * 3, index * 3 + 3)).size, 1)
    const first = [...new Set(offsets)].sort((a, b) => a - b)
    await storeEach(buses[1]!, 'a:1', ['last'])
    for (const one of followed) {
      await one.came(21)
      t.strictSame(one.offsets().slice(0, 20), first)
    }
  },

  async 'all read the same'(t, suite) {
    const { buses } = await createWorld(t, suite, { nodes: 3 })
    const offsets: number[] = []
    for (const turn of range(0, 29)) offsets.push(...(await storeEach(buses[turn % 3]!, 'a:1', [`e${turn}`])))
    t.ok(rises(offsets))
    for (const range of [
      { after: 0, limit: 100 },
      { after: offsets[9]!, limit: 5 },
      { before: offsets[20]!, limit: 5 },
    ]) {
      const pages = await Promise.all(buses.map((bus) => bus.read('a:1', plain, range)))
      const [first] = pages.map((page) => page.publications.map(({ offset, event }) => [offset, event]))
      t.ok(first!.length > 0)
      for (const { publications, epoch, tail } of pages)
        t.strictSame(
          [publications.map(({ offset, event }) => [offset, event]), epoch, tail],
          [first, pages[0]!.epoch, offsets.at(-1)],
        )
    }
  },

  async 'one that comes later has all of it; one that closes takes nothing along'(t, suite) {
    const world = await createWorld(t, suite, { nodes: 2 })
    const [first, second] = [world.buses[0]!, world.buses[1]!]
    const offsets = await storeEach(first, 'a:1', names(5))
    const [followed, listened] = [await follow(second, 'a:1'), await listen(second, 'a:1')]
    await first.close()
    const third = await world.join()
    const { publications } = await third.read('a:1', plain, { after: 0, limit: 10 })
    t.strictSame(
      publications.map(({ offset }) => offset),
      offsets,
    )
    await storeEach(third, 'a:1', ['stored'])
    await third.broadcast('a:1', { event: 'live' })
    await Promise.all([followed.came(1), listened.came(1)])
    t.strictSame([followed.heard.length, listened.events(), listened.gaps()], [2, ['live'], 0])
  },

  async 'who declares a pattern otherwise than the others is refused, naming it'(t, suite) {
    const { buses } = await createWorld(t, suite, { nodes: 2 })
    const [first, second] = [buses[0]!, buses[1]!]
    const history = { size: 10, ttlMs: 60_000 }
    await Promise.all([first, second].map((bus) => bus.declare('same:*', history)))
    await first.declare('same:*', history)
    await first.declare('kept:*', history)
    await first.declare('live:*', undefined)
    for (const [pattern, otherwise] of [
      ['kept:*', { ...history, size: 11 }],
      ['kept:*', { ...history, ttlMs: 60_001 }],
      ['kept:*', undefined],
      ['live:*', history],
    ] as const) {
      const error = await rejection(second.declare(pattern, otherwise))
      t.ok(error instanceof Error && error.message.includes(pattern), String(error))
    }
    await second.declare('kept:*', history)
    await second.declare('live:*', undefined)
  },
}
