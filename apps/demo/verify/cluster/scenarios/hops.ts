import { setTimeout as sleep } from 'node:timers/promises'
import { listed } from '../../support/play/figures.js'
import { transportNames } from '../../support/play/crowd.js'
import type { Scenario } from '../../support/play/scenario.js'
import { enough, openCluster } from '../cluster.js'
import { expectSessionGaps } from '../expectations.js'

const backMs = 60_000
const hopsPerSecond = 40
const mostLost = 0.01
/** Any of them may be the first choice; all can be switched to. */
const turns = transportNames.map((_, i) => [...transportNames.slice(i), ...transportNames.slice(0, i)])

/** Clients change links, and with them nodes, all the time, while nodes drain and are killed in the middle of it. */
export const hops: Scenario = {
  name: 'hops',
  brief: false,
  gaps: { 'live session': 'fine', 'live bus': 'fine' },
  async play(stage) {
    const { crowd, random, brief, say, expect } = stage
    const cluster = await openCluster(stage, { transports: turns })
    const [first, second, third] = random.shuffled(cluster.nodes)
    const load = cluster.load()
    const hopping = random.fork('hops')
    const outcomes = { done: 0, refused: 0 }
    const stop = crowd.every(1_000 / hopsPerSecond, () => {
      const { client } = hopping.pick(crowd.members)
      const to = hopping.pick(transportNames.filter((name) => name !== client.transport))
      client.switchTo(to).then(
        () => outcomes.done++,
        () => outcomes.refused++,
      )
    })

    await sleep(random.between(2_000, 4_000))
    const drained = await first!.drain()
    await first!.close()
    await first!.start()
    await cluster.balanced()
    const lost = crowd.sessions() - crowd.members.length
    say(
      `${drained.handedOver} sessions handed over among hops, ${drained.recovered} to recover; ` +
        `${lost} lost, with ${listed(outcomes)} hops so far`,
    )
    expect(
      lost <= mostLost * crowd.members.length,
      `${lost} sessions were lost among hops before any node died`,
    )

    if (!brief) {
      // The node that sessions are being given to dies, then one that gives them away.
      const draining = second!.drain()
      await sleep(random.between(2_200, 3_500))
      await third!.kill()
      const also = await draining
      await second!.close()
      await Promise.all([second!.start(), third!.start()])
      await cluster.balanced()
      say(`${also.handedOver} sessions handed over while a node died, ${also.recovered} to recover`)
      await sleep(random.between(2_000, 4_000))

      const ending = first!.drain().catch(() => undefined)
      await sleep(random.between(2_200, 3_500))
      await first!.kill()
      await ending
      await first!.start()
      await cluster.balanced()
      say('a node died while it drained')
    }
    await load.reach(enough(stage))
    stop()
    await load.stop()
    await crowd.whole(backMs)
    const handovers = (await cluster.metrics()).map((page) =>
      listed(page.by('everwire_handovers_total', 'result')),
    )
    say(`hops ${listed(outcomes)}; ${crowd.sessions() - crowd.members.length} sessions lost`)
    say(`handovers of each node since its start: ${handovers.join('; ')}`)
    expect(outcomes.done > outcomes.refused, `of the hops only ${outcomes.done} worked`)
    expectSessionGaps(stage)
  },
}
