import cluster from 'node:cluster'
import type { Bus, Clock } from '@everwire/core'

/** What a process knows about itself. */
export interface ProcessFacts {
  /** Of node:cluster. */
  isWorker: boolean
  env: Readonly<Record<string, string | undefined>>
}

/** Says what shows that this process is one of several that serve the same, or nothing. */
export function findSiblings({ isWorker, env }: ProcessFacts): string | undefined {
  const { pm_id: pm2Id, exec_mode: mode, instances, instance_var: indexName = 'NODE_APP_INSTANCE' } = env
  if (pm2Id !== undefined && mode !== undefined) {
    // `pm2 scale` leaves `instances` as it was at the start: then only the index tells.
    if (Number(instances) > 1 || Number(env[indexName]) > 0) return 'PM2 runs several instances of it'
    // PM2 forks even a single instance by node:cluster.
    if (mode === 'cluster_mode') return undefined
  }
  return isWorker ? 'it is a worker of node:cluster' : undefined
}

const fix = 'To join processes give everwire a shared bus, such as the one of @everwire/bus-nats.'

const foreignEveryMs = 300_000

export interface LoneProcessOptions {
  bus: Bus
  clock: Clock
  warn(message: string): void
  /** @default those of this process */
  facts?: ProcessFacts
}

/**
 * Warns where several processes serve without a bus that joins them: publications of one would never reach clients
 * of another. At once when the process can know, and when a client brings a session of another process.
 * @returns what hears of a session id with another node in it
 */
export function guardLoneProcess({
  bus,
  clock,
  warn,
  facts = { isWorker: cluster.isWorker, env: process.env },
}: LoneProcessOptions): () => void {
  if (bus.name !== 'memory') return () => {}
  const siblings = findSiblings(facts)
  if (siblings !== undefined)
    warn(
      `everwire: this process is one of several (${siblings}), and its bus is in the process: ` +
        `publications do not reach clients of the others. ${fix}`,
    )
  let quietUntil = -Infinity
  return () => {
    if (clock.now() < quietUntil) return
    quietUntil = clock.now() + foreignEveryMs
    warn(
      'everwire: a client came with a session of another process. Either this one was restarted, which is fine, ' +
        `or several stand behind one address with a bus in each. ${fix}`,
    )
  }
}
