import { setTimeout as sleep } from 'node:timers/promises'
import type { Haproxy } from '@everwire/testkit/load-balancer'
import type { Scenario } from '../../support/play/scenario.js'
import { enough, openCluster } from '../cluster.js'
import { expectSameSessions, expectSessionGaps } from '../expectations.js'

const backMs = 40_000
const shortMs = 2_000
const longMs = 6_000
const windowMs = 3_000

/** What lies between clients and nodes goes silent, breaks, or both. */
const cuts: Record<string, (balancer: Haproxy, ms: number) => Promise<void>> = {
  async silent(balancer, ms) {
    await balancer.pause()
    await sleep(ms)
    balancer.resume()
  },
  async broken(balancer, ms) {
    await balancer.kill()
    await sleep(ms)
    await balancer.start()
  },
  async 'silent, then broken'(balancer, ms) {
    await balancer.pause()
    await sleep(ms / 2)
    await balancer.kill()
    await sleep(ms / 2)
    await balancer.start()
  },
}

/** Clients are cut off for less than the resume window: nothing is lost, not on live channels either. */
export const networkCutShort: Scenario = {
  name: 'network-cut-short',
  brief: false,
  gaps: {},
  async play(stage) {
    const { crowd, random, say } = stage
    const cluster = await openCluster(stage)
    const load = cluster.load()
    for (const [how, cut] of random.shuffled(Object.entries(cuts))) {
      await sleep(random.between(1_000, 3_000))
      await cut(cluster.balancer, shortMs)
      await cluster.balanced()
      await crowd.whole(backMs)
      say(`${how} for ${shortMs / 1_000} s`)
    }
    await load.reach(enough(stage))
    await load.stop()
    await crowd.whole(backMs)
    expectSameSessions(stage)
  },
}

/** Clients are cut off for longer: history recovers by position, live channels are told once. */
export const networkCutLong: Scenario = {
  name: 'network-cut-long',
  brief: false,
  gaps: { 'live session': 'fine' },
  async play(stage) {
    const { crowd, random, say, expect } = stage
    const cluster = await openCluster(stage, { limits: { resumeWindowMs: windowMs } })
    const load = cluster.load()
    const rounds = 2
    for (let round = 1; round <= rounds; round++) {
      await sleep(random.between(1_000, 3_000))
      await cuts.broken!(cluster.balancer, longMs)
      await cluster.balanced()
      await crowd.whole(backMs)
      say(`cut off for ${longMs / 1_000} s, the resume window is ${windowMs / 1_000} s`)
    }
    await load.reach(enough(stage))
    await load.stop()
    await crowd.whole(backMs)
    const due = crowd.members.length * (1 + rounds)
    expect(crowd.sessions() === due, `${crowd.sessions()} sessions were opened, it should be ${due}`)
    expectSessionGaps(stage, { once: true })
  },
}
