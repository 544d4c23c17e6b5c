import { busSuite, createFakeClock } from '@everwire/testkit'
import t from 'tap'
import { memoryBus } from '../src/index.js'
import { range } from './memory-transport.js'

t.test('the memory bus', (t) =>
  busSuite(t, {
    create() {
      const clock = createFakeClock()
      return {
        // One partition: every channel leaves holes in the offsets of every other.
        createBus: () => memoryBus({ clock, partitions: 1 }),
        advance: (ms) => clock.advance(ms),
      }
    },
  }),
)

t.test('the sweep forgets a channel, not that it lost something, and leaves no timer behind', async (t) => {
  const clock = createFakeClock()
  const bus = memoryBus({ clock, partitions: 1 })
  const history = { size: 3, ttlMs: 1_000 }
  for (const channel of ['a:1', 'b:1', 'a:1', 'b:1']) await bus.store(channel, history, { event: 'e' })
  await clock.advance(60_000)
  for (const [channel, last] of Object.entries({ 'a:1': 3, 'b:1': 4 })) {
    const read = async (after: number) => (await bus.read(channel, history, { after, limit: 9 })).complete
    t.strictSame(await Promise.all(range(0, last).map(read)), [...Array<boolean>(last).fill(false), true])
  }
  t.equal((await bus.store('a:1', history, { event: 'e' })).offset, 5)
  await bus.close()
  t.equal(clock.pending, 0)
})
