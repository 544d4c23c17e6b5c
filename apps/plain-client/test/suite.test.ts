import t from 'tap'
import Fastify from 'fastify'
import { WebSocket } from 'ws'
import { everwire } from '@everwire/server'
import { transportSuite, type TransportSuiteOptions } from '@everwire/testkit'
import { longPolling as longPollingClient } from '@everwire/transport-long-polling/client'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse as sseClient } from '@everwire/transport-sse/client'
import { sse } from '@everwire/transport-sse/server'
import { webSocket as webSocketClient } from '@everwire/transport-websocket/client'
import { webSocket } from '@everwire/transport-websocket/server'
import { createSuiteClient } from './suite-client.js'

// The plain client takes nothing but their names; with the rest the suite plays rude clients.
const transports = [webSocketClient({ WebSocket }), sseClient(), longPollingClient()]

// Those that drive a client: the others look at servers through links of the suite's own.
const cases = {
  link: [
    'connects, asks and is asked',
    'keeps the order in both directions',
    'carries every payload unchanged, both ways',
    'carries binary payloads unchanged, both ways',
    'carries frames up to the limit, and refuses larger ones alone',
  ],
  session: [
    'nothing is lost when the resume window has passed: a new session recovers by position',
    'a token that expired is fetched once, and the session is kept',
    'a token that expires under a link is fetched anew after its grace',
    'a refused client stops, and asks nothing more',
    'comes back after the server was restarted, and recovers',
    'publications made offline arrive in order, once; the queue is bounded',
    'a small queue is a bound on what is open, not on what was ever sent',
    'a channel that new claims deny is taken back, with all that waits of it',
  ],
  fault: [
    'resumes after the link drops in mid-frame, wherever that is',
    'what is published while links drop is accepted once',
    'the server finds a half-open client; its neighbour stays',
    'the client finds a half-open server, and comes back',
    'a reader that is too slow is ended alone, and recovers by position',
    'a server that closes does not wait for links, nor for what is still authenticated',
  ],
  leak: ['200 clients leave nothing behind'],
}

const start: TransportSuiteOptions['start'] = async (options, { port, log }) => {
  const app = Fastify({ logger: { level: 'debug', stream: log } })
  await app.register(everwire, { transports: [webSocket(), sse(), longPolling()], ...options })
  await app.listen({ port, host: '127.0.0.1' })
  return app
}

for (const transport of transports) {
  const others = transports.filter((other) => other !== transport)
  const pairs = others.flatMap(({ name }) => [
    [transport.name, name],
    [name, transport.name],
  ])
  const switches = pairs.map(([from, to]) => `switches from ${from} to ${to} under load without a loss`)
  void t.test(transport.name, (t) =>
    transportSuite(t, {
      transport,
      others,
      oneWay: transport.name !== 'websocket',
      only: { ...cases, session: [...cases.session, ...switches] },
      createClient: createSuiteClient,
      start,
    }),
  )
}
