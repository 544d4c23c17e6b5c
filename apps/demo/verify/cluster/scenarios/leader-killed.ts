import { setTimeout as sleep } from 'node:timers/promises'
import { historySize } from '../../support/play/node-settings.js'
import type { Scenario } from '../../support/play/scenario.js'
import { enough, openCluster } from '../cluster.js'
import { expectSameSessions } from '../expectations.js'

const backMs = 30_000
const partitions = 8

/** `kill -9` of the server that leads all of JetStream, and of one that leads a stream. */
export const leaderKilled: Scenario = {
  name: 'leader-killed',
  brief: false,
  gaps: { 'live bus': 'if-nothing-is-missing' },
  async play(stage) {
    const { crowd, random, say } = stage
    const cluster = await openCluster(stage)
    const { nats } = cluster
    const load = cluster.load()
    const stream = `ew_s${historySize}-t3600000_${Math.floor(random.next() * partitions)}`
    for (const led of [undefined, stream]) {
      await sleep(random.between(1_000, 3_000))
      const leader = await nats.leader(led)
      await leader.kill()
      await sleep(random.between(1_000, 8_000))
      await leader.start()
      await nats.ready()
      await crowd.whole(backMs)
      say(`${leader.name}, which led ${led ?? 'JetStream'}, killed and started`)
    }
    await load.reach(enough(stage))
    await load.stop()
    await crowd.whole(backMs)
    expectSameSessions(stage)
  },
}
