import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { EverwireError } from '@everwire/core'
import { drainOnSignals, type Everwire } from '@everwire/server'
import fastify from 'fastify'
import { addEverwire } from '../application.js'
import { loopback } from '../front.js'
import type { NodeCounts } from '../shared.js'
import type { NodeMessage, NodeSettings } from './messages.js'

const countEveryMs = 500
/** The balancer asks several times in this whether the node is ready. */
const drainNoticeMs = 1_000
const drainMs = 10_000
/** Whose node was killed waits until the others take it for dead: a demo should not be waited for. */
const beatMs = 500
const nodeTimeoutMs = 2_500

/** One node: Everwire and nothing else, in a process that whoever started it may end at any moment. */
export async function runNode(): Promise<void> {
  // Whoever started it is gone, and nobody else would end it.
  process.on('disconnect', () => process.exit(1))
  // Ctrl-C in a terminal, and its end, reach it too; whoever started it decides what that means.
  for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {})
  const say = (message: NodeMessage) => new Promise<unknown>((resolve) => process.send!(message, resolve))
  const [settings] = (await once(process, 'message')) as [NodeSettings]
  const app = fastify({ logger: { level: 'warn' }, forceCloseConnections: true })
  const count = async () => {
    const { everwire } = app
    await say({ kind: 'counted', sessions: everwire.sessions().length, counts: await countsOf(everwire) })
  }
  try {
    await addEverwire(app, { ...settings, drainNoticeMs, drainMs, beatMs, nodeTimeoutMs })
    // The last handovers count too.
    app.addHook('onClose', count)
    await app.listen({ port: 0, host: loopback })
  } catch (error) {
    const code = error instanceof EverwireError ? error.code : ''
    await say({ kind: 'failed', code, message: (error as Error).message })
    process.exit(1)
  }
  drainOnSignals(app, { signals: ['SIGTERM'] })
  process.on('SIGTERM', () => void say({ kind: 'draining' }))
  const { port } = app.server.address() as { port: number }
  await say({ kind: 'listening', nodeId: app.everwire.nodeId, port })
  for (;;) {
    await count()
    await sleep(countEveryMs)
  }
}

async function countsOf({ metrics }: Everwire): Promise<NodeCounts> {
  const found = await metrics.getMetricsAsJSON()
  const sum = (name: string, label: string, ...wanted: string[]) =>
    found
      .filter((metric) => metric.name === `everwire_${name}_total`)
      .flatMap(({ values }) => values)
      .filter(({ labels }) => wanted.includes(String(labels[label])))
      .reduce((total, { value }) => total + value, 0)
  return {
    handedOver: sum('handovers', 'result', 'taken'),
    relayed: sum('relays', 'result', 'ok'),
    recovered: sum('recoveries', 'source', 'ring', 'stream'),
  }
}
