import { setTimeout as sleep } from 'node:timers/promises'
import { channelNames } from '../../support/play/channels.js'
import { historySize } from '../../support/play/node-settings.js'
import type { Scenario } from '../../support/play/scenario.js'

const downMs = 1_000
const restMs = 3_000
const partitions = 8

/** `kill -9` of the server that leads a partition, in a cluster that keeps three copies. */
export const leaderKilled: Scenario = {
  name: 'leader-killed',
  brief: false,
  gaps: { 'live bus': 'if-nothing-is-missing' },
  async play(stage) {
    const { crowd, random, say } = stage
    const { all } = channelNames(6)
    const nats = await stage.nats({ servers: 3 })
    const nodes = await stage.nodes(nats.urls.map(() => nats.urls))
    await stage.gather({ members: 18, nodes, channels: all, reading: 4 })
    const moves = crowd.moves()
    const stop = crowd.publishSteadily(120, all, random.fork('publications'))
    for (let kill = 1; kill <= 3; kill++) {
      await sleep(random.between(1_000, 3_000))
      const stream = `ew_s${historySize}-t3600000_${Math.floor(random.next() * partitions)}`
      const leader = await nats.leader(stream)
      await leader.kill()
      await sleep(downMs)
      await leader.start()
      await nats.ready()
      await sleep(restMs)
      say(`${leader.name}, which led ${stream}, killed and started`)
    }
    stop()
    await crowd.answered()
    stage.expect(crowd.moves() === moves, `clients took ${crowd.moves() - moves} other links or sessions`)
  },
}
