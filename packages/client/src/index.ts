export type { Channel, Gap, HistoryPage, PublicationMeta, PublishOptions } from './channel.js'
export {
  createClient,
  type Client,
  type ClientEvents,
  type ClientMethod,
  type ClientOptions,
  type ClientStats,
} from './client.js'
export type { Attempt, CarrierStats, ConnectionState, Explanation, TransportVerdict } from './carrier.js'
export type { TypedChannel, TypedClient } from './contract.js'
export {
  localStorageQueue,
  storedQueue,
  type LocalStorageQueueOptions,
  type QueueStore,
  type StoredPublication,
  type StoredQueue,
  type StoredQueueOptions,
} from './stored-queue.js'
export type { Off } from './emitter.js'
export type { TabChannel, TabEnvironment, TabLocks } from './tabs/environment.js'
export type { TransportMemory } from './negotiator.js'
export {
  defineContract,
  EverwireError,
  type,
  type Contract,
  type ErrorCode,
  type Fetch,
} from '@everwire/core'
