import Fastify from 'fastify'
import { createClient } from '@everwire/client'
import { everwire } from '@everwire/server'
import type { TransportSuiteOptions } from '@everwire/testkit'
import { longPolling } from '../src/client.js'
import { longPolling as longPollingServer } from '../src/server.js'

/** What the transport suite needs of this transport. */
export const suite: TransportSuiteOptions = {
  transport: longPolling(),
  oneWay: true,
  createClient,
  async start(options, { port, log }) {
    const app = Fastify({ logger: { level: 'debug', stream: log } })
    await app.register(everwire, { transports: [longPollingServer()], ...options })
    await app.listen({ port, host: '127.0.0.1' })
    return app
  },
}
