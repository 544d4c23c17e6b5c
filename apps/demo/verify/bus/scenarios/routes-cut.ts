import { setTimeout as sleep } from 'node:timers/promises'
import { channelNames } from '../../support/play/channels.js'
import type { Scenario } from '../../support/play/scenario.js'

const cutMs = 2_000
const restMs = 4_000

/** What joins two servers of a cluster, or one to all others, is cut for a while. */
export const routesCut: Scenario = {
  name: 'routes-cut',
  brief: false,
  gaps: { 'live bus': 'if-nothing-is-missing' },
  async play(stage) {
    const { crowd, random, say } = stage
    const { all } = channelNames(6)
    const nats = await stage.nats({ servers: 3, proxyRoutes: true })
    const nodes = await stage.nodes(nats.urls.map((url) => [url]))
    await stage.gather({ members: 18, nodes, channels: all, reading: 4 })
    const names = nats.servers.map(({ name }) => name)
    // Published to once, in the cut: there is no next publication by which a loss could show.
    const rare = [1, 2, 3, 4].map((i) => `live:rare-${i}`)
    for (const member of crowd.members) await Promise.all(rare.map((channel) => member.subscribe(channel)))
    const moves = crowd.moves()
    const stop = crowd.publishSteadily(120, all, random.fork('publications'))
    for (const [i, channel] of rare.entries()) {
      await sleep(random.between(1_000, 3_000))
      const [one, other] = random.shuffled(names)
      const two = i % 2 === 0 ? [one, other] : [one]
      // Some so short that no heartbeat falls into them.
      const ms = i < 2 ? cutMs : random.between(200, 700)
      nats.routes!.cut(...two)
      const publisher = random.pick(
        crowd.members.filter((_, m) => nats.servers[m % nodes.length]!.name === one),
      )
      await sleep(ms / 2)
      await crowd.publishAs(publisher, channel)
      await sleep(ms / 2)
      nats.routes!.heal()
      await sleep(restMs)
      say(
        `${two.length === 2 ? two.join(' and ') : `${one} and all others`} cut off for ${(ms / 1_000).toFixed(1)} s`,
      )
    }
    stop()
    await nats.ready()
    await crowd.answered()
    stage.expect(crowd.moves() === moves, `clients took ${crowd.moves() - moves} other links or sessions`)
  },
}
