import { createFakeClock } from '../fake-clock.js'
import { openRawLink } from './raw-link.js'
import type { SuiteServer, SuiteTest, TransportSuiteOptions } from './types.js'
import { until } from './until.js'
import { allOf, connected, createWorld, openChannels, range } from './world.js'

/** Invariant 24: after churn everything is back to the start. */
export async function leakCases(t: SuiteTest, suite: TransportSuiteOptions): Promise<void> {
  await t.test('200 clients leave nothing behind', async (t) => {
    const clock = createFakeClock()
    let followed = 0
    const world = await createWorld(t, suite, { clock }, (server) => {
      openChannels(server)
      countReaders(server, (change) => {
        followed += change
      })
    })
    const timers = clock.pending
    const transports = allOf(suite)

    const polite = async (i: number) => {
      const client = world.client({ transports: [transports[i % transports.length]!] })
      await connected(client)
      const shared = client.channel('history:shared')
      await Promise.all([shared.subscribe(), client.channel(`live:${i}`).subscribe()])
      await shared.publish('n', i)
      t.equal(client.stats().sessions, 1)
      return () => client.close()
    }
    const rude = async (i: number) => {
      const raw = openRawLink(transports[i % transports.length]!, { url: world.url, attach: {} })
      await raw.welcomed()
      await raw.send(['sub', `live:${i}`])
      await raw.received(1)
      return () => raw.link.close('closed')
    }
    for (let round = 0; round < 4; round++) {
      const leave = await Promise.all(range(1, 50).map((i) => (i % 2 === 0 ? polite(i) : rude(i))))
      t.equal(followed, 51, 'each has its channel, and the polite ones the shared one')
      for (const one of leave) one()
      await until(
        () => world.open() === 0 && world.everwire.sessions().every((one) => one.transport === undefined),
        () => `no link; there are ${world.open()}`,
      )
      await until(
        () => world.everwire.sessions().length === 25,
        () => `25 sessions without a good-bye; there are ${world.everwire.sessions().length}`,
      )
      await clock.advance(90_000)
    }
    t.strictSame([world.everwire.sessions().length, followed, world.open(), clock.pending], [0, 0, 0, timers])
  })
}

/** Counts the channels that the hub hears of. */
function countReaders({ everwire: { bus } }: SuiteServer, count: (change: number) => void): void {
  const [follow, listen] = [bus.follow.bind(bus), bus.listen.bind(bus)]
  const counted = async (opened: Promise<() => void>) => {
    const stop = await opened
    count(1)
    return () => {
      count(-1)
      stop()
    }
  }
  bus.follow = (...args) => counted(follow(...args))
  bus.listen = (...args) => counted(listen(...args))
}
