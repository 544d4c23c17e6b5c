import { setTimeout as sleep } from 'node:timers/promises'
import { isWhole } from '../../support/play/crowd.js'
import { inSeconds } from '../../support/play/figures.js'
import type { Scenario } from '../../support/play/scenario.js'
import { until } from '../../support/until.js'
import { enough, openCluster } from '../cluster.js'
import { expectSessionGaps } from '../expectations.js'

const clients = 2_000
const channels = 20
const nearlyAll = 0.99
const noticeMs = 20_000
const backMs = 60_000
/** However many come back, a node reads what a channel holds once for all of them, or some times. */
const mostReads = 4

/** 2,000 clients are dropped at once, and come back at once: first to their sessions, then to nodes that know nothing. */
export const storm: Scenario = {
  name: 'storm',
  brief: false,
  gaps: { 'live session': 'fine', 'live bus': 'fine' },
  async play(stage) {
    const { crowd, say, expect } = stage
    const cluster = await openCluster(stage, {
      members: clients,
      transports: [['websocket'], ['websocket'], ['sse'], ['long-polling']],
      channels,
      reading: 1,
    })
    const { balancer, nodes, counter } = cluster
    const load = cluster.load({ perSecond: 30, fromServers: 3 })
    for (const restart of [false, true]) {
      await sleep(2_000)
      const sessions = crowd.sessions()
      // Nodes that start again count from 0.
      const readsBefore = restart ? 0 : await counter('everwire_history_reads_total')
      await balancer.kill()
      await until('everyone was dropped', () => !crowd.members.some(isWhole), noticeMs)
      if (restart) {
        await Promise.all(nodes.map((node) => node.kill()))
        await Promise.all(nodes.map((node) => node.start()))
      }
      const began = performance.now()
      await balancer.start()
      await until(
        `${nearlyAll * 100} % back`,
        () => crowd.members.filter(isWhole).length >= clients * nearlyAll,
        backMs,
      )
      const nearlyMs = performance.now() - began
      await crowd.whole(backMs)
      const reads = (await counter('everwire_history_reads_total')) - readsBefore
      const lost = crowd.sessions() - sessions
      say(
        `${clients} dropped, ${restart ? 'all nodes started anew' : 'their sessions kept'}: ` +
          `${nearlyAll * 100} % back after ${inSeconds(nearlyMs)}, all after ` +
          `${inSeconds(performance.now() - began)}; ${reads} stream reads, ${lost} new sessions`,
      )
      const most = mostReads * channels * nodes.length
      expect(reads <= most, `${reads} stream reads, ${most} at most were expected`)
      if (!restart) expect(lost === 0, `${lost} sessions were lost`)
    }
    await load.reach(enough(stage))
    await load.stop()
    await crowd.whole(backMs)
    expectSessionGaps(stage)
  },
}
