import { nats } from '@everwire/bus-nats'
import { systemClock } from '@everwire/core'
import { everwire } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import { webSocket } from '@everwire/transport-websocket/server'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { addChannels, type Claims } from './channels.js'
import { publicName, visitorOf } from './visitors.js'

export interface ApplicationOptions {
  /** Addresses of NATS servers, joined by commas; without them the bus is in the process. */
  natsUrl?: string
  /** First tokens of the subjects on NATS. @default 'ew' */
  natsPrefix?: string
  /** As those of nats(). */
  beatMs?: number
  nodeTimeoutMs?: number
  /** As everwire's. */
  drainNoticeMs?: number
  drainMs?: number
}

/** Path that everything of Everwire stands under. */
export const prefix = '/everwire'

/** Everwire with the demo's channels: the same in one process and in each of several nodes. */
export async function addEverwire(
  app: FastifyInstance,
  { natsUrl, natsPrefix, beatMs, nodeTimeoutMs, ...drain }: ApplicationOptions,
): Promise<void> {
  await app.register(everwire, {
    prefix,
    transports: [webSocket(), sse(), longPolling()],
    ...(natsUrl
      ? { bus: nats({ servers: natsUrl.split(','), prefix: natsPrefix, beatMs, nodeTimeoutMs }) }
      : {}),
    authenticate: ({ request }) => {
      const visitor = visitorOf((request as FastifyRequest).headers.cookie)
      const claims: Claims = { visitor: visitor === undefined ? '' : publicName(visitor) }
      return { userId: null, claims }
    },
    maxSessions: 500,
    // Room for a busy stream during an outage; a session that cannot keep it recovers from the history instead.
    outboxFrames: 20_000,
    outboxBytes: 4_194_304,
    maxOperations: 10_000,
    ...drain,
  })
  addChannels(app.everwire, systemClock)
}
