import { setTimeout as sleep } from 'node:timers/promises'
import { inMs } from '../../support/play/figures.js'
import type { Scenario } from '../../support/play/scenario.js'
import type { Stage } from '../../support/play/stage.js'
import { quantile } from '../../support/quantile.js'
import { enough, openCluster, type Cluster } from '../cluster.js'
import { expectSameSessions } from '../expectations.js'
import { place } from '../placement.js'

const backMs = 40_000
const settleMs = 2_000
/** Some requests of a phase were counted before it, and some after. */
const mostShare = 0.95

interface Phase {
  /** Milliseconds until publications of clients whose way up is a request were acknowledged. */
  waits: number[]
  /** Requests of a session that a node passed on to the owner. */
  relays: number
  /** Requests of a session that the balancer placed. */
  requests: number
  /** Processors that the nodes used, all together. */
  processors: number
  seconds: number
}

/** Each poll and each POST of a session lands on a node that has not got it; beside it what that costs. */
export const elsewhere: Scenario = {
  name: 'elsewhere',
  brief: false,
  gaps: {},
  async play(stage) {
    const { crowd, say, expect } = stage
    const cluster = await openCluster(stage, {
      balance: (config, nodes) => place(config, nodes, 'owner'),
    })
    const { balancer, nodes } = cluster
    const load = cluster.load()
    const publications = enough(stage) / 2
    await sleep(settleMs)
    const near = await measure(stage, cluster, () => load.reach(publications))

    await balancer.reconfigure((config) => place(config, nodes, 'elsewhere'))
    await balancer.kill()
    await balancer.start()
    await cluster.balanced()
    await crowd.whole(backMs)
    await sleep(settleMs)
    const began = crowd.published
    const far = await measure(stage, cluster, () => load.reach(began + publications))
    await load.stop()

    for (const [name, phase] of Object.entries({ 'at the owner': near, elsewhere: far }))
      say(`${name}: ${formatPhase(phase)}`)
    expect(near.waits.length > 0 && far.waits.length > 0, 'nobody published by requests: this shows nothing')
    expect(
      far.relays >= mostShare * far.requests,
      `only ${far.relays} of ${far.requests} requests were relayed, though all landed elsewhere`,
    )
    expect(
      near.relays <= (1 - mostShare) * near.requests,
      `${near.relays} of ${near.requests} requests were relayed, though all landed at the owner`,
    )
    expectSameSessions(stage)
  },
}

async function measure(
  { crowd }: Stage,
  { nodes, balancer, counter }: Cluster,
  wait: () => Promise<void>,
): Promise<Phase> {
  const read = async () => ({
    relays: await counter('everwire_relays_total'),
    requests: (await balancer.servers())
      .filter(({ backend }) => backend.startsWith('placed_'))
      .reduce((sum, { requests }) => sum + requests, 0),
    cpu: (await Promise.all(nodes.map((node) => node.cpu()))).reduce((sum, ms) => sum + ms, 0),
    at: performance.now(),
    answers: crowd.figures.answers.length,
  })
  const before = await read()
  await wait()
  const after = await read()
  const ms = after.at - before.at
  return {
    waits: crowd.figures.answers
      .slice(before.answers, after.answers)
      .filter(({ accepted, transport }) => accepted && (transport === 'sse' || transport === 'long-polling'))
      .map((answer) => answer.ms),
    relays: after.relays - before.relays,
    requests: after.requests - before.requests,
    processors: (after.cpu - before.cpu) / ms,
    seconds: ms / 1_000,
  }
}

function formatPhase({ waits, relays, requests, processors, seconds }: Phase): string {
  return (
    `acknowledged in p50 ${inMs(quantile(waits, 0.5))}, p99 ${inMs(quantile(waits, 0.99))}; ` +
    `${(requests / seconds).toFixed(0)} requests/s, ${relays} of ${requests} relayed; ` +
    `nodes used ${processors.toFixed(2)} processors, ` +
    `${inMs((processors * seconds * 1_000) / Math.max(1, requests))} per request`
  )
}
