import { setTimeout as sleep } from 'node:timers/promises'
import type { Scenario } from '../../support/play/scenario.js'
import { deleteStreams } from '../../support/play/streams.js'
import { isHistory } from '../../support/play/node-settings.js'
import { until } from '../../support/until.js'
import { enough, openCluster } from '../cluster.js'
import { expectSameSessions } from '../expectations.js'

const toldMs = 30_000

/** An operator deletes the streams: everybody who reads history is told once, and goes on. */
export const streamsDeleted: Scenario = {
  name: 'streams-deleted',
  brief: false,
  gaps: { 'history epoch': 'fine' },
  async play(stage) {
    const { crowd, say, expect } = stage
    const cluster = await openCluster(stage)
    const readers = crowd.members.flatMap(({ channels }) => channels).filter(isHistory).length
    const told = () => crowd.figures.gaps['history epoch'] ?? 0
    const load = cluster.load()
    await sleep(2_000)
    const began = performance.now()
    const count = await deleteStreams(cluster.nats.url)
    await until('a gap told to everyone', () => told() >= readers, toldMs)
    say(
      `${count} streams deleted, ${readers} readers of history told in ${(performance.now() - began).toFixed(0)} ms`,
    )
    await load.reach(enough(stage))
    await load.stop()
    expect(told() === readers, `${readers} readers were told ${told()} gaps`)
    expectSameSessions(stage)
  },
}
