import { fileURLToPath } from 'node:url'
import { startHaproxy } from '@everwire/testkit/load-balancer'
import { startNats } from '@everwire/testkit/nats-server'
import { startPostgres } from '@everwire/testkit/postgres-server'
import { startApp, type AppProcess } from './app-process.js'
import { startCrowd } from './crowd.js'
import { createJudge, type Verdict } from './judge.js'
import { until } from './until.js'
import { createWriter } from './writer.js'

export interface Rolling extends Verdict {
  /** The steps that the servers were at, in turn. */
  steps: readonly string[]
  /** How many clients of the page were live at each. */
  live: number[]
}

export interface RollingOptions {
  steps: readonly string[]
  /** Of each kind: those of step 0, and those of step 2 and later. */
  clients: number
  intervalMs: number
  everyMs: number
  /** How long all servers stay at one step. */
  stayMs: number
}

const servers = 3
const patienceMs = 30_000
const configFile = fileURLToPath(new URL('../../../../docs/scaling/haproxy.cfg', import.meta.url))
/** A server of step 0 knows nothing of readiness: that it can be reached is all that is asked. */
const byConnection = (config: string) =>
  config.replace(/ *option httpchk\n(.*\n)*? *http-check expect.*\n/, '')

/**
 * Three servers on one database and one NATS behind HAProxy, replaced one by one, up the steps and down again, while old
 * and new pages poll and listen and somebody writes.
 */
export async function roll({
  steps,
  clients,
  intervalMs,
  everyMs,
  stayMs,
}: RollingOptions): Promise<Rolling> {
  const [postgres, nats] = await Promise.all([startPostgres(), startNats()])
  const env = { DATABASE_URL: postgres.url, NATS_URL: nats.url }
  const nodes: AppProcess[] = []
  const first = await startApp({ step: steps[0]!, env })
  nodes.push(first, ...(await Promise.all([1, 2].map(() => startApp({ step: steps[0]!, env })))))
  const haproxy = await startHaproxy({
    configFile,
    targets: nodes.map(({ port }) => `127.0.0.1:${port}`),
    change: byConnection,
  })
  const url = `http://127.0.0.1:${haproxy.port}`
  const users = ['u1', 'u2', 'u3', 'u4']
  const judge = createJudge()
  const writer = createWriter({ url: () => url, users })
  await writer.write()
  const order = { url, clients, users, intervalMs }
  const old = startCrowd({ ...order, kind: 'fetch' }, judge.shown)
  const modern = startCrowd({ ...order, kind: 'poll', from: clients }, judge.shown)
  const over = new AbortController()
  const writing = (async () => {
    while (!over.signal.aborted) await writer.during(everyMs, everyMs)
  })()
  const live: number[] = []
  try {
    for (const step of steps) {
      if (live.length > 0)
        for (let i = 0; i < servers; i++) {
          const { port } = nodes[i]!
          await nodes[i]!.stop()
          nodes[i] = await startApp({ step, port, env })
        }
      const wanted = Number.parseInt(step) > 0 ? clients : 0
      await until(`${wanted} live at step ${step}`, () => modern.count('live') === wanted, patienceMs)
      await new Promise((resolve) => setTimeout(resolve, stayMs))
      live.push(modern.count('live'))
    }
    over.abort()
    await writing
    const truth = await writer.truth()
    await until('all show the end', () => judge.isCurrent(truth, 2 * clients), patienceMs).catch(() => {})
    return { ...judge.verdict(truth, 2 * clients), steps, live }
  } finally {
    over.abort()
    await Promise.all([old.stop(), modern.stop()])
    await haproxy.stop()
    await Promise.all(nodes.map((node) => node.stop()))
    await nats.stop()
    await postgres.stop()
  }
}
