import { setTimeout as sleep } from 'node:timers/promises'
import { channelNames } from '../../support/play/channels.js'
import type { Scenario } from '../../support/play/scenario.js'

const shortMs = 500
const longMs = 6_000

/** `kill -9` of the only NATS server, which comes back with what it had stored. */
export const natsKilled: Scenario = {
  name: 'nats-killed',
  brief: true,
  gaps: { 'live bus': 'if-nothing-is-missing' },
  async play(stage) {
    const { crowd, random, brief, say } = stage
    const outages = brief ? [shortMs] : random.shuffled([shortMs, shortMs, shortMs, longMs, longMs])
    const { all } = channelNames(6)
    const nats = await stage.nats()
    const nodes = await stage.nodes([nats.urls, nats.urls])
    await stage.gather({ members: 30, nodes, channels: all, reading: 4 })
    const moves = crowd.moves()
    const stop = crowd.publishSteadily(150, all, random.fork('publications'))
    for (const outageMs of outages) {
      await sleep(random.between(1_000, brief ? 2_000 : 4_000))
      const [server] = nats.servers
      await server!.kill()
      await sleep(outageMs)
      await server!.start()
      await sleep(random.between(2_000, 4_000))
      say(`NATS killed, ${outageMs / 1_000} s without it`)
    }
    stop()
    await crowd.answered()
    stage.expect(crowd.moves() === moves, `clients took ${crowd.moves() - moves} other links or sessions`)
  },
}
