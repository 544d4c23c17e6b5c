import t from 'tap'
import { createClient } from '@everwire/client'
import { transportSuite, type SuiteServer, type TransportSuiteOptions } from '@everwire/testkit'
import { startNats } from '@everwire/testkit/nats-server'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'
import { WebSocket } from 'ws'
import { startCluster } from './cluster.js'

const server = await startNats()
t.teardown(() => server.stop())
let places = 0

/** Three nodes that look like one: every request goes to another of them. */
const start: TransportSuiteOptions['start'] = async (options, { port, log }) => {
  const { bus: _, ...settings } = options
  const cluster = await startCluster({
    ...settings,
    natsUrl: server.url,
    natsPrefix: `place-${++places}`,
    handoverIntervalMs: 0,
    port,
    log,
    prepare() {},
  })
  const [first] = cluster.nodes
  const all = cluster.nodes.map(({ everwire }) => everwire)
  return {
    server: cluster.balancer,
    everwire: {
      nodeId: first!.everwire.nodeId,
      bus: first!.everwire.bus,
      channel: (...rule) => all.forEach((one) => one.channel(...(rule as Parameters<typeof one.channel>))),
      method: (name, method) => all.forEach((one) => one.method(name, method)),
      publish: (...publication) => first!.everwire.publish(...publication),
      sessions: (userId) => all.flatMap((one) => one.sessions(userId)),
    },
    close: () => cluster.close(),
  } satisfies SuiteServer
}

/** What looks into the one server, whose clock a test moves, or that is not there without a balancer in between. */
const except = {
  session: [
    'nothing is lost when the resume window has passed: a new session recovers by position',
    'a token that expired is fetched once, and the session is kept',
  ],
  fault: ['the server finds a half-open client; its neighbour stays'],
  'bad input': true,
  leak: true,
} as const

const all = { websocket: webSocket({ WebSocket }), sse: sse(), 'long-polling': longPolling() }
for (const [name, transport] of Object.entries(all))
  await t.test(name, async (t) => {
    const others = Object.values(all).filter((other) => other !== transport)
    await transportSuite(t, { transport, others, oneWay: name !== 'websocket', createClient, start, except })
  })
