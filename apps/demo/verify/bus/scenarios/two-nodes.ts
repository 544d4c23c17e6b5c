import { setTimeout as sleep } from 'node:timers/promises'
import { channelNames } from '../../support/play/channels.js'
import type { Scenario } from '../../support/play/scenario.js'

const serverPublications = 20

/** Two nodes on one NATS: readers on both see the same, whoever publishes where. */
export const twoNodes: Scenario = {
  name: 'two-nodes',
  brief: false,
  gaps: {},
  async play(stage) {
    const { crowd, random, say } = stage
    // Few channels, so that readers on both nodes have most of each in common.
    const { all } = channelNames(2)
    const nats = await stage.nats()
    const nodes = await stage.nodes([nats.urls, nats.urls])
    await stage.gather({ members: 12, nodes, channels: all, reading: 4 })
    const moves = crowd.moves()
    const stop = crowd.publishSteadily(150, all, random.fork('publications'))
    const taken = random.fork('servers')
    const fromServer = async () => {
      const node = taken.pick(nodes)
      await crowd.publish(
        node.name,
        taken.pick(all),
        async (...publication) => (await node.publish(...publication)) ?? {},
      )
    }
    const timer = setInterval(() => void fromServer(), 1_000 / serverPublications)
    await sleep(12_000)
    clearInterval(timer)
    stop()
    await crowd.answered()
    say('publications from clients and servers of both nodes')
    stage.expect(crowd.moves() === moves, `clients took ${crowd.moves() - moves} other links or sessions`)
    stage.expect(
      Object.keys(crowd.figures.failures).length === 0,
      'publications failed, though nothing was broken',
    )
  },
}
