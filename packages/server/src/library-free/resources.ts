import type { FastifyInstance } from 'fastify'
import { ChannelAccess } from './access.js'
import { ChannelPublishing } from './publishing.js'
import { ChannelReads } from './reads.js'
import { registerChannelRoutes } from './routes.js'
import type { ChannelRules } from '../channels/rules.js'
import type { Identity } from '../client-session.js'
import type { Credentials } from '../gateway.js'
import type { Hub } from '../channels/hub.js'
import type { Settings } from '../options.js'
import type { Schemas } from '../schemas.js'
import { Tickets } from './tickets.js'

export interface ChannelResourcesOptions {
  settings: Settings
  hub: Hub
  rules: ChannelRules
  schemas: Schemas
  authenticate(credentials: Credentials): Promise<Identity>
}

export interface ChannelResources {
  register(scope: FastifyInstance): Promise<void>
  /** Ends what is held open. */
  close(): void
}

/** Room for the header of a frame beside its payload. */
const headerBytes = 1_024

/** Channels as plain HTTP resources, for clients without a library: the parts, put together. */
export function createChannelResources({
  settings,
  hub,
  rules,
  schemas,
  authenticate,
}: ChannelResourcesOptions): ChannelResources {
  const { ticketKey, ticketMs, ticketStreamMs, streamMs, resumeWindowMs, serverKeys, frameBytes } = settings
  const tickets = new Tickets({
    key: ticketKey,
    ticketMs,
    streamMs: ticketStreamMs,
    resumeMs: streamMs + resumeWindowMs,
    wallClock: () => Date.now(),
  })
  const access = new ChannelAccess({ hub, rules, tickets, serverKeys, authenticate })
  const reads = new ChannelReads({ ...settings, hub, access })
  const publishing = new ChannelPublishing(hub, access, schemas)
  return {
    register: (scope) =>
      registerChannelRoutes(scope, {
        reads,
        publishing,
        access,
        tickets,
        payloadBytes: frameBytes - headerBytes,
      }),
    close: () => reads.close(),
  }
}
