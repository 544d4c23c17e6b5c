import Fastify from 'fastify'
import { WebSocket } from 'ws'
import { createClient } from '@everwire/client'
import { everwire } from '@everwire/server'
import type { TransportSuiteOptions } from '@everwire/testkit'
import { longPolling } from '@everwire/transport-long-polling/client'
import { longPolling as longPollingServer } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/client'
import { sse as sseServer } from '@everwire/transport-sse/server'
import { webSocket } from '../src/client.js'
import { webSocket as webSocketServer } from '../src/server.js'

/** What the transport suite needs of this transport. */
export const suite: TransportSuiteOptions = {
  transport: webSocket({ WebSocket }),
  others: [sse(), longPolling()],
  oneWay: false,
  createClient,
  async start(options, { port, log }) {
    const app = Fastify({ logger: { level: 'debug', stream: log } })
    await app.register(everwire, {
      transports: [webSocketServer(), sseServer(), longPollingServer()],
      ...options,
    })
    await app.listen({ port, host: '127.0.0.1' })
    return app
  },
}
