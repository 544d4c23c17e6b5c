import { setTimeout as sleep } from 'node:timers/promises'
import type { Scenario } from '../../support/play/scenario.js'
import { enough, openCluster } from '../cluster.js'
import { expectSessionGaps } from '../expectations.js'

const backMs = 60_000
/** Nodes that are silent for 5 s count as dead. */
const cuts = [
  { how: 'broken', ms: 2_000 },
  { how: 'broken', ms: 8_000 },
  { how: 'silent', ms: 8_000 },
] as const

/** One node is cut from NATS: the others think it dead, and it still has clients. */
export const nodeCut: Scenario = {
  name: 'node-cut',
  brief: false,
  // Who counts as dead cannot be asked what it said last.
  gaps: { 'live session': 'fine', 'live bus': 'fine' },
  async play(stage) {
    const { crowd, random, say } = stage
    const cluster = await openCluster(stage, { gated: true })
    const load = cluster.load()
    for (const { how, ms } of cuts) {
      await sleep(random.between(1_000, 3_000))
      const before = crowd.sessions()
      for (const gate of cluster.gates) gate.cut(how)
      await sleep(ms)
      for (const gate of cluster.gates) gate.heal()
      await cluster.balanced()
      await crowd.whole(backMs)
      say(`cut for ${ms / 1_000} s, ${how}: ${crowd.sessions() - before} sessions lost`)
    }
    await load.reach(enough(stage))
    await load.stop()
    await crowd.whole(backMs)
    expectSessionGaps(stage)
  },
}
