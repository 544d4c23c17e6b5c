import { fileURLToPath } from 'node:url'
import { startHaproxy, type Haproxy } from '@everwire/testkit/load-balancer'
import type { Nats } from '@everwire/testkit/nats-server'
import { channelNames } from '../support/play/channels.js'
import type { TransportName } from '../support/play/crowd.js'
import type { Metrics } from '../support/play/metrics.js'
import type { NodeProcess } from '../support/play/node-process.js'
import type { Stage } from '../support/play/stage.js'
import { pollUntil, until } from '../support/until.js'
import { createGate, type Gate } from './gate.js'

export interface ClusterOptions {
  /** @default 300, a third of them on each transport */
  members?: number
  /** @default one transport each */
  transports?: readonly (readonly TransportName[])[]
  /** Channels of each kind. @default 12 */
  channels?: number
  /** Channels that each client reads. @default 2 */
  reading?: number
  /** Options of Everwire, at each node. */
  limits?: Readonly<Record<string, number>>
  /** Puts a gate between the first node and each NATS server. @default false */
  gated?: boolean
  /** Changes how the balancer chooses; by default it goes round. */
  balance?: (config: string, nodes: readonly NodeProcess[]) => string
}

/** Three nodes on three NATS servers that keep three copies, behind a balancer that goes round, and clients of it. */
export interface Cluster {
  readonly nats: Nats
  readonly nodes: readonly NodeProcess[]
  readonly balancer: Haproxy
  /** What clients connect to. */
  readonly url: string
  readonly channels: ReturnType<typeof channelNames>
  readonly gates: readonly Gate[]
  /** Publications of clients and servers, until it is stopped. */
  load(options?: LoadOptions): Load
  /** Resolves once the balancer sends requests to all nodes that run. */
  balanced(): Promise<void>
  /** A counter, summed over the nodes that run. */
  counter(name: string, labels?: Readonly<Record<string, string>>): Promise<number>
  metrics(): Promise<Metrics[]>
}

export interface LoadOptions {
  /** Publications of clients, of all together. @default 60 */
  perSecond?: number
  /** And of servers. @default 6 */
  fromServers?: number
}

export interface Load {
  /** Resolves once so many were published in all. */
  reach(publications: number): Promise<void>
  /** Resolves once everything has its answer. */
  stop(): Promise<void>
}

/** What each scenario publishes at least, and its short form. */
export const enough = ({ brief }: Stage): number => (brief ? 300 : 2_000)

const configFile = fileURLToPath(new URL('../../../../docs/scaling/haproxy.cfg', import.meta.url))
const nodeCount = 3
const publisherCount = 45
const balancedMs = 20_000
const reachMs = 180_000

export async function openCluster(stage: Stage, options: ClusterOptions = {}): Promise<Cluster> {
  const { crowd, random, brief } = stage
  const {
    members = brief ? 30 : 300,
    channels: count = brief ? 6 : 12,
    reading = 2,
    limits = {},
    gated = false,
    balance = (config) => config,
    transports,
  } = options
  const nats = await stage.nats({ servers: 3 })
  const gates = gated ? await Promise.all(nats.urls.map((url) => createGate(Number(new URL(url).port)))) : []
  for (const gate of gates) stage.closing(() => gate.close())
  const throughGates = gates.map(({ port }) => `nats://127.0.0.1:${port}`)
  const servers = Array.from({ length: nodeCount }, (_, i) => (gated && i === 0 ? throughGates : nats.urls))
  const nodes = await stage.nodes(servers, { limits })
  const balancer = await startHaproxy({
    configFile,
    targets: nodes.map(({ address }) => address),
    change: (config) => balance(config, nodes),
  })
  stage.closing(() => balancer.stop())
  const url = `${balancer.url}/everwire`
  const channels = channelNames(count)

  const balanced = () => {
    const running = nodes.filter((node) => node.running)
    return pollUntil(
      'the balancer finds all nodes ready',
      async () => (await balancer.servers()).filter(({ up }) => up).length >= running.length,
      balancedMs,
    )
  }
  await balanced()
  await stage.gather({
    members,
    nodes: [{ url }],
    ...(transports ? { transports } : {}),
    channels: channels.all,
    reading,
  })

  const taken = random.fork('servers')
  const busy = new Set<string>()
  /** One after the other in each channel: of two that are under way at once, either may be stored first. */
  const publishFromServer = async () => {
    const [node, channel] = [taken.pick(nodes), taken.pick(channels.all)]
    const series = `${node.name} ${channel}`
    if (!node.running || busy.has(series)) return
    busy.add(series)
    await crowd.publish(
      node.name,
      channel,
      async (...publication) => (await node.publish(...publication)) ?? {},
    )
    busy.delete(series)
  }

  const metrics = () => Promise.all(nodes.filter(({ running }) => running).map((node) => node.metrics()))

  return {
    nats,
    nodes,
    balancer,
    url,
    channels,
    gates,
    load({ perSecond = 60, fromServers = 6 } = {}) {
      const publishers = crowd.members.slice(0, publisherCount)
      const stopClients = crowd.publishSteadily(
        perSecond,
        channels.all,
        random.fork('publications'),
        publishers,
      )
      const stopServers = crowd.every(1_000 / fromServers, () => void publishFromServer())
      return {
        reach: (publications) =>
          until(`${publications} publications`, () => crowd.published >= publications, reachMs),
        async stop() {
          stopClients()
          stopServers()
          await crowd.answered()
        },
      }
    },
    balanced,
    counter: async (name, labels) =>
      (await metrics()).reduce((sum, page) => sum + page.total(name, labels), 0),
    metrics,
  }
}
