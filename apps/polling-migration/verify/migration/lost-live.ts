import { setTimeout as sleep } from 'node:timers/promises'
import { createFaultProxy } from '@everwire/testkit'
import { startApp } from './app-process.js'
import { startCrowd } from './crowd.js'
import { createJudge, type Verdict } from './judge.js'
import { until } from './until.js'
import { createWriter } from './writer.js'

export interface LostLive extends Verdict {
  /** The worst staleness while live was away. */
  awayMs: number
  /** How long after its return all were live again. */
  backMs: number
}

export interface LostLiveOptions {
  clients: number
  intervalMs: number
  /** How long nothing of Everwire gets through. */
  lostMs: number
  everyMs: number
}

const patienceMs = 40_000

/** The API can be reached all the while; everything under /everwire cannot, for a time. */
export async function loseLive({ clients, intervalMs, lostMs, everyMs }: LostLiveOptions): Promise<LostLive> {
  const app = await startApp({ step: '3' })
  let isLost = false
  const isEverwire = (path = '') => path.startsWith('/everwire')
  const proxy = await createFaultProxy({
    target: { host: '127.0.0.1', port: app.port },
    decide: ({ url }) => (isLost && isEverwire(url) ? { drop: true } : {}),
  })
  const users = ['u1', 'u2', 'u3']
  const judge = createJudge()
  const writer = createWriter({ url: () => app.url, users })
  const url = `http://127.0.0.1:${proxy.port}`
  const crowd = startCrowd({ kind: 'poll', url, clients, users, intervalMs }, judge.shown)
  try {
    await writer.write()
    await until('all are live', () => crowd.count('live') === clients, patienceMs)
    isLost = true
    proxy.cut(({ request }) => isEverwire(request.url))
    await until('none is live', () => crowd.count('live') === 0, patienceMs)
    judge.measure()
    await writer.during(lostMs, everyMs)
    const { staleness } = judge.verdict([], clients)
    const awayMs = staleness.at(-1) ?? Infinity
    isLost = false
    const backMs = await until('all are live again', () => crowd.count('live') === clients, patienceMs)
    await writer.write()
    const truth = await writer.truth()
    await until('all show the end', () => judge.isCurrent(truth, clients), patienceMs).catch(() => {})
    await sleep(intervalMs)
    return { ...judge.verdict(truth, clients), awayMs, backMs }
  } finally {
    await crowd.stop()
    await proxy.close()
    await app.stop()
  }
}
