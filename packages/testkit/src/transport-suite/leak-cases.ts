import { systemClock, type Clock } from '@everwire/core'
import type { SuiteServer, SuiteTest, TransportSuiteOptions } from './types.js'
import { until } from './until.js'
import { allOf, connected, createWorld, openChannels, range } from './world.js'

/** Invariant 24: after churn everything is back to the start. */
export async function leakCases(t: SuiteTest, suite: TransportSuiteOptions): Promise<void> {
  await t.test('200 clients leave nothing behind', async (t) => {
    const { clock, pending } = createCountedClock()
    let followed = 0
    const world = await createWorld(t, suite, { clock, resumeWindowMs: 300 }, (server) => {
      openChannels(server)
      countReaders(server, (change) => {
        followed += change
      })
    })
    const timers = pending()
    const transports = allOf(suite)
    const churn = async (count: number) => {
      const clients = await Promise.all(
        range(1, count).map(async (i) => {
          const client = world.client({ transports: [transports[i % transports.length]!] })
          await connected(client)
          const shared = client.channel('history:shared')
          await Promise.all([shared.subscribe(), client.channel(`live:${i}`).subscribe()])
          await shared.publish('n', i)
          return client
        }),
      )
      t.ok(followed > count, `${followed} channels are followed`)
      // Half say good-bye; of the others nothing is heard any more.
      clients.forEach((client, i) => i % 2 === 0 && client.close())
      await until(() => world.everwire.sessions().length <= count / 2, 'the polite half to be gone')
      for (const client of clients) client.close()
    }
    for (const _ of range(1, 4)) await churn(50)
    await until(
      () => world.everwire.sessions().length === 0 && followed === 0 && world.open() === 0 && pending() <= timers,
      () =>
        `${world.everwire.sessions().length} sessions, ${followed} followed, ${world.open()} links, ${pending()} of ${timers} timers`,
    )
    t.strictSame(
      [world.everwire.sessions().length, followed, world.open(), pending()],
      [0, 0, 0, timers],
    )
  })
}

function createCountedClock(): { clock: Clock; pending(): number } {
  const timers = new Set<object>()
  const clock: Clock = {
    now: () => systemClock.now(),
    after(ms, run) {
      const timer = {}
      timers.add(timer)
      const cancel = systemClock.after(ms, () => {
        timers.delete(timer)
        run()
      })
      return () => {
        timers.delete(timer)
        cancel()
      }
    },
  }
  return { clock, pending: () => timers.size }
}

/** Counts the channels that the hub hears of. */
function countReaders({ everwire: { bus } }: SuiteServer, count: (change: number) => void): void {
  const { follow, listen } = bus
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
