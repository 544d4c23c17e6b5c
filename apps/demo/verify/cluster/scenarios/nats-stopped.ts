import { setTimeout as sleep } from 'node:timers/promises'
import { inSeconds } from '../../support/play/figures.js'
import type { Scenario } from '../../support/play/scenario.js'
import { enough, openCluster } from '../cluster.js'
import { expectSameSessions } from '../expectations.js'

const downMs = 10_000
const backMs = 60_000

/** All NATS servers are stopped, for longer than a silent node counts as alive, and started again. */
export const natsStopped: Scenario = {
  name: 'nats-stopped',
  brief: false,
  gaps: { 'live bus': 'if-nothing-is-missing' },
  async play(stage) {
    const { crowd, say } = stage
    const cluster = await openCluster(stage)
    const { nats } = cluster
    const load = cluster.load()
    await sleep(2_000)
    await Promise.all(nats.servers.map((server) => server.stop()))
    await sleep(downMs)
    // One that catches up with its streams for long is a matter of nats-server's: what clients see of it is judged.
    const started = await Promise.allSettled(nats.servers.map((server) => server.start()))
    for (const [i, { status }] of started.entries())
      if (status === 'rejected')
        say(`${nats.servers[i]!.name} runs, and has not caught up with all streams yet`)
    await nats.ready()
    const began = performance.now()
    await cluster.balanced()
    await crowd.whole(backMs)
    say(`all back ${inSeconds(performance.now() - began)} after NATS was`)
    await load.reach(enough(stage))
    await load.stop()
    await crowd.whole(backMs)
    // The nodes lived all the time, and so did their sessions: nobody may be taken for dead by who was cut off itself.
    expectSameSessions(stage)
  },
}
