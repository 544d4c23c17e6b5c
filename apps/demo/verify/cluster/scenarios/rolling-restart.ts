import { setTimeout as sleep } from 'node:timers/promises'
import { inMs, inSeconds } from '../../support/play/figures.js'
import type { Scenario } from '../../support/play/scenario.js'
import { quantile } from '../../support/quantile.js'
import { enough, openCluster } from '../cluster.js'
import { lateAnswers } from '../expectations.js'

const backMs = 30_000
const restMs = 1_000
const answerMs = 5_000
const leastHandedOver = 0.99
const leastAnswered = 0.9999

/** A deploy: each node drains, ends and starts, one after the other, under load. */
export const rollingRestart: Scenario = {
  name: 'rolling-restart',
  brief: true,
  gaps: {},
  async play(stage) {
    const { crowd, brief, say, expect } = stage
    const cluster = await openCluster(stage)
    const load = cluster.load()
    await sleep(restMs)
    let [handed, recovered] = [0, 0]
    for (const node of cluster.nodes.slice(0, brief ? 1 : undefined)) {
      const drained = await node.drain()
      handed += drained.handedOver
      recovered += drained.recovered
      await node.close()
      await node.start()
      await cluster.balanced()
      await crowd.whole(backMs)
      say(
        `${node.name} drained in ${inSeconds(drained.ms)}: ` +
          `${drained.handedOver} sessions handed over, ${drained.recovered} to recover`,
      )
      await sleep(restMs)
    }
    await load.reach(enough(stage))
    await load.stop()
    await crowd.whole(backMs)

    const { outages, answers } = crowd.figures
    const lost = crowd.sessions() - crowd.members.length
    const late = lateAnswers(stage, answerMs)
    say(
      `${handed} handed over, ${recovered} not, by the nodes; ${lost} new sessions, by the clients; ` +
        `longest outage ${inMs(quantile(outages, 1))}, p99 ${inMs(quantile(outages, 0.99))}; ` +
        `${late} of ${answers.length} publications late or failed`,
    )
    expect(handed > 0, 'nothing was handed over: this shows nothing')
    expect(
      handed / (handed + recovered) >= leastHandedOver,
      `only ${handed} of ${handed + recovered} sessions were handed over`,
    )
    expect(
      lost <= (1 - leastHandedOver) * handed,
      `clients lost ${lost} sessions, the nodes handed over ${handed}`,
    )
    expect(
      1 - late / answers.length >= leastAnswered,
      `${late} of ${answers.length} publications were not acknowledged within ${answerMs} ms`,
    )
  },
}
