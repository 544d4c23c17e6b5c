import { everwire as bareEverwire, type EverwireOptions as BareOptions } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import { webSocket } from '@everwire/transport-websocket/server'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

export interface EverwireOptions extends Omit<BareOptions, 'transports'> {
  /** The transports on offer, the server halves. @default WebSocket, Server-Sent Events, long polling */
  transports?: BareOptions['transports']
}

async function plugin(
  app: FastifyInstance,
  { transports = [webSocket(), sse(), longPolling()], ...options }: EverwireOptions,
): Promise<void> {
  await app.register(bareEverwire, { ...options, transports })
}

/**
 * The Fastify 5 plugin with all three transports. Register @fastify/websocket before it if the application uses that too.
 * @throws TypeError when an option is wrong, naming it
 */
export const everwire = fp(plugin, { name: 'everwire', fastify: '5.x' })

export { longPolling, sse, webSocket }
export {
  defineContract,
  drainOnSignals,
  EverwireError,
  memoryBus,
  positionToken,
  type,
  typed,
  type ChannelHistory,
  type ChannelListener,
  type ChannelOptions,
  type ClientSession,
  type Contract,
  type Credentials,
  type DrainReport,
  type DrainTimes,
  type ErrorCode,
  type Everwire,
  type FollowedPublication,
  type Identity,
  type MemoryBusOptions,
  type Method,
  type MethodContext,
  type Negotiate,
  type NegotiationAsk,
  type PublishAttempt,
  type PublishOptions,
  type SignalOptions,
  type TypedChannelOptions,
  type TypedEverwire,
  type TypedSession,
  type Verdict,
} from '@everwire/server'
export type { WebSocketServerOptions } from '@everwire/transport-websocket/server'
