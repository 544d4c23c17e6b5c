import t, { type Test } from 'tap'
import { createClient, type Client } from '@everwire/client'
import type { ClientTransport } from '@everwire/core'
import { startNats } from '@everwire/testkit/nats-server'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'
import type { FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'
import { startCluster, type Cluster, type ClusterOptions } from './cluster.js'
import { until } from '../verify/support/until.js'

const server = await startNats()
t.teardown(() => server.stop())
let places = 0

const transports: [string, () => ClientTransport][] = [
  ['websocket', () => webSocket({ WebSocket })],
  ['sse', sse],
  ['long-polling', () => longPolling()],
]

async function world(t: Test, options: Partial<ClusterOptions> = {}) {
  const cluster = await startCluster({
    natsUrl: server.url,
    natsPrefix: `place-${++places}`,
    handoverIntervalMs: 0,
    drainNoticeMs: 0,
    prepare({ everwire }) {
      everwire.channel('history:*', { history: { size: 1_000 }, subscribe: true, publish: true })
      everwire.channel('live:*', { subscribe: true, publish: true })
      everwire.method('echo', (_session, input) => input)
    },
    ...options,
  })
  const clients: Client[] = []
  t.teardown(async () => {
    for (const client of clients) client.close()
    await cluster.close()
  })
  const client = (transport: ClientTransport) => {
    const client = createClient({
      url: cluster.url,
      transports: [transport],
      backoffMs: 50,
      linkTimeoutMs: 10_000,
    })
    clients.push(client)
    return client
  }
  return { cluster, client }
}

/** Reads a channel into arrays. */
async function record(client: Client, name: string) {
  const channel = client.channel(name)
  const data: unknown[] = []
  const gaps: string[] = []
  channel.on('*', (value) => data.push(value))
  channel.on('gap', ({ reason }) => gaps.push(reason))
  await channel.subscribe()
  return { channel, data, gaps }
}

const owner = ({ nodes }: Cluster): FastifyInstance =>
  nodes.find(({ everwire }) => everwire.sessions().length > 0)!

for (const [name, make] of transports) {
  void t.test(`${name}: every request on another node`, async (t) => {
    const { cluster, client } = await world(t)
    const reader = client(make())
    const history = await record(reader, 'history:a')
    const live = await record(reader, 'live:a')
    for (let i = 1; i <= 20; i++) {
      await history.channel.publish('n', i)
      await live.channel.publish('n', i)
      t.equal(await reader.request('echo', i), i)
      // The link breaks off, and the next one is another node's.
      if (i % 5 === 0) owner(cluster).server.closeAllConnections()
    }
    const wanted = Array.from({ length: 20 }, (_, i) => i + 1)
    await until('all of it', () => history.data.length >= 20 && live.data.length >= 20, 10_000)
    t.strictSame([history.data, history.gaps], [wanted, []])
    t.strictSame([live.data, live.gaps], [wanted, []])
    t.equal(reader.stats().sessions, 1, 'one session')
  })

  void t.test(`${name}: each node drained in turn`, async (t) => {
    const { cluster, client } = await world(t)
    const reader = client(make())
    const history = await record(reader, 'history:a')
    const live = await record(reader, 'live:a')
    let published = 0
    const stop = new AbortController()
    const publishing = (async () => {
      while (!stop.signal.aborted) {
        await history.channel.publish('n', ++published)
        await live.channel.publish('n', published)
      }
    })()
    for (const node of cluster.nodes.slice(0, 2)) {
      const report = await node.everwire.drain()
      t.equal(report.recovered, 0, JSON.stringify(report))
      await node.close()
    }
    stop.abort()
    await publishing
    await until('all of it', () => history.data.length >= published && live.data.length >= published, 10_000)
    const wanted = Array.from({ length: published }, (_, i) => i + 1)
    t.strictSame([history.data, history.gaps], [wanted, []])
    t.strictSame([live.data, live.gaps], [wanted, []])
    t.equal(reader.stats().sessions, 1, 'one session')
  })
}
