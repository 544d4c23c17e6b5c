import { setTimeout as sleep } from 'node:timers/promises'
import { inSeconds } from '../../support/play/figures.js'
import type { Scenario } from '../../support/play/scenario.js'
import { enough, openCluster } from '../cluster.js'
import { expectSessionGaps } from '../expectations.js'

const backMs = 40_000
/** Of three nodes one has a third of the sessions, or, after a death, some more. */
const mostShare = 0.75

/** `kill -9` of a node: its sessions are lost, and come back at the others, from where they were. */
export const nodeKilled: Scenario = {
  name: 'node-killed',
  brief: true,
  // What live channels lost with a session can only be told, and nobody knows what a dead node said last.
  gaps: { 'live session': 'fine', 'live bus': 'fine' },
  async play(stage) {
    const { crowd, random, brief, say, expect } = stage
    const cluster = await openCluster(stage)
    const load = cluster.load()
    for (const node of random.shuffled(cluster.nodes).slice(0, brief ? 1 : 3)) {
      await sleep(random.between(1_000, 3_000))
      const [before, began] = [crowd.sessions(), performance.now()]
      await node.kill()
      // Some come back before the others know that it is dead, some before it is there again, some after that.
      await sleep(random.between(500, 7_000))
      await node.start()
      await crowd.whole(backMs)
      const lost = crowd.sessions() - before
      say(`killed: ${lost} sessions lost, all back after ${inSeconds(performance.now() - began)}`)
      expect(
        lost > 0 && lost <= crowd.members.length * mostShare,
        `${lost} of ${crowd.members.length} sessions were lost with one node of three`,
      )
      await cluster.balanced()
    }
    await load.reach(enough(stage))
    await load.stop()
    await crowd.whole(backMs)
    expectSessionGaps(stage, { once: true })
  },
}
