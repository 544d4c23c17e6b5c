import type { LivePublication } from '@everwire/core'
import type { Cases } from './types.js'
import { createWorld, follow, listen, names, plain, range, rises, storeEach } from './world.js'

/** Broadcasting and listening. */
export const liveCases: Cases = {
  async 'a listener hears what is broadcast, in order, with numbers that prove it'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const listened = await listen(bus, 'a:1')
    for (const turn of range(1, 30)) {
      await bus.broadcast('a:1', { event: `e${turn}` })
      if (turn % 3 === 0) await bus.broadcast('b:1', { event: 'elsewhere' })
    }
    await listened.came(30)
    t.strictSame(listened.events(), names(30))
    t.ok(isChained(listened.publications), 'each names the one before it')
    t.equal(new Set(listened.publications.map(({ run }) => run)).size, 1)
    t.equal(listened.gaps(), 0)
  },

  async 'what is broadcast in one turn keeps its order'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const listened = await listen(bus, 'a:1')
    await Promise.all(names(200).map((event) => bus.broadcast('a:1', { event })))
    await listened.came(200)
    t.strictSame(listened.events(), names(200))
    t.ok(isChained(listened.publications))
  },

  async 'all listeners hear the same; an undo ends one alone, at once; twice is safe'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const [first, second, third] = [
      await listen(bus, 'a:1'),
      await listen(bus, 'a:1'),
      await listen(bus, 'a:1'),
    ]
    for (const event of names(3)) await bus.broadcast('a:1', { event })
    await Promise.all([first, second, third].map(({ came }) => came(3)))
    t.strictSame(first.publications, second.publications)
    first.undo()
    first.undo()
    for (const event of names(3)) await bus.broadcast('a:1', { event })
    await Promise.all([second, third].map(({ came }) => came(6)))
    t.equal(first.publications.length, 3)
    t.strictSame(second.publications, third.publications)
    second.undo()
    third.undo()
    const again = await listen(bus, 'a:1')
    await bus.broadcast('a:1', { event: 'last' })
    await again.came(1)
    t.strictSame([second.publications.length, again.events(), again.gaps()], [6, ['last'], 0])
  },

  async 'a listener that undoes in the middle hears no more'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const heard: string[] = []
    let undo = () => {}
    undo = await bus.listen('a:1', {
      publication({ event }) {
        heard.push(event)
        if (heard.length === 2) undo()
      },
      gap() {},
    })
    const other = await listen(bus, 'a:1')
    await Promise.all(names(10).map((event) => bus.broadcast('a:1', { event })))
    await other.came(10)
    t.strictSame(heard, names(2))
  },

  async 'nothing is heard of what was broadcast before'(t, suite) {
    const { bus } = await createWorld(t, suite)
    for (const event of names(5)) await bus.broadcast('a:1', { event })
    const listened = await listen(bus, 'a:1')
    await bus.broadcast('a:1', { event: 'now' })
    await listened.came(1)
    t.strictSame(listened.events(), ['now'])
  },

  async 'what is broadcast is not stored, and what is stored is not broadcast'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const [followed, listened] = [await follow(bus, 'a:1'), await listen(bus, 'a:1')]
    for (const turn of range(1, 5)) {
      await bus.broadcast('a:1', { event: `live${turn}` })
      await storeEach(bus, 'a:1', [`stored${turn}`])
    }
    await Promise.all([followed.came(5), listened.came(5)])
    t.strictSame(
      followed.publications.map(({ event }) => event),
      names(5, 'stored'),
    )
    t.strictSame(listened.events(), names(5, 'live'))
    t.ok(rises(followed.offsets()))
    t.equal((await bus.read('a:1', plain, { after: 0, limit: 100 })).publications.length, 5)
  },
}

/** Of each run every publication names the one before it, and numbers rise; where it begins is open. */
export function isChained(publications: readonly LivePublication[]): boolean {
  const last = new Map<string, number>()
  return publications.every(({ run, number, previous }) => {
    const known = last.get(run)
    last.set(run, number)
    return number > 0 && previous < number && (known === undefined || previous === known)
  })
}
