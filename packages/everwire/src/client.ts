import {
  createClient as createBareClient,
  type Client,
  type ClientOptions as BareOptions,
  type Contract,
  type TypedClient,
} from '@everwire/client'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'

export interface ClientOptions extends Omit<BareOptions, 'transports'> {
  /** The client halves of the transports, the best first. @default WebSocket, Server-Sent Events, long polling */
  transports?: BareOptions['transports']
}

/**
 * A client that falls back from WebSocket to Server-Sent Events to long polling, and comes up again.
 * @throws TypeError when an option is wrong, naming it
 */
export function createClient(options: ClientOptions): Client
export function createClient<C extends Contract>(options: ClientOptions): TypedClient<C>
export function createClient({
  transports = [webSocket(), sse(), longPolling()],
  ...options
}: ClientOptions): Client {
  return createBareClient({ ...options, transports })
}

export { longPolling, sse, webSocket }
export {
  defineContract,
  EverwireError,
  type,
  type Attempt,
  type Channel,
  type Client,
  type ClientEvents,
  type ClientMethod,
  type ClientStats,
  type ConnectionState,
  type Contract,
  type ErrorCode,
  type Explanation,
  type Gap,
  type HistoryPage,
  type Off,
  type PublicationMeta,
  type PublishOptions,
  type TransportMemory,
  type TransportVerdict,
  type TypedChannel,
  type TypedClient,
} from '@everwire/client'
export type { LongPollingClientOptions } from '@everwire/transport-long-polling/client'
export type { SseClientOptions } from '@everwire/transport-sse/client'
export type { WebSocketClientOptions } from '@everwire/transport-websocket/client'
