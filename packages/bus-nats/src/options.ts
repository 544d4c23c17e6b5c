import { systemClock, type Clock } from '@everwire/core'
import type { ConnectionOptions, NatsConnection } from '@nats-io/transport-node'

export interface NatsOptions {
  /** One server or several of a cluster: `nats://host:4222`. @default 'nats://127.0.0.1:4222' */
  servers?: string | readonly string[]
  /** Content of a credentials file (JWT and seed). */
  credentials?: string
  user?: string
  pass?: string
  token?: string
  /** TLS, as @nats-io/transport-node takes it; `{}` asks for TLS with the system's authorities. */
  tls?: ConnectionOptions['tls']
  /** A connection that the application has; it stays open when the bus is closed. It must reconnect for ever. */
  connection?: NatsConnection
  /** First tokens of every subject: one per environment that shares a NATS. @default 'ew' */
  prefix?: string
  /** Streams per history class; fixed when the first node creates them. @default 8 */
  partitions?: number
  /** Copies of each stream. @default 3 in a cluster, else 1 */
  replicas?: number
  /** Where history is kept; memory ends with its servers. @default 'file' */
  storage?: 'file' | 'memory'
  /** Creates streams that are missing. Without it they, and the key-value bucket, must be there. @default true */
  manageStreams?: boolean
  /**
   * Takes this node's history options over for all, where other nodes were started with others. What the old streams
   * hold stays there, unread; readers are told a gap. @default false
   */
  adoptHistory?: boolean
  /** Signs what nodes say to each other; the same on all, 32 characters or more. @default one kept in the bucket */
  clusterKey?: string
  /**
   * How long the first connection may take, and again how long JetStream may take to be there. Together they must stay
   * below Fastify's `pluginTimeout`, which is 10 s. @default 4000
   */
  connectTimeoutMs?: number
  /** How long a publication may wait for the servers, and be retried; at most half the dedup window. @default 15000 */
  publishTimeoutMs?: number
  /** Publications that may be under way at once; beyond, they are refused as `temporary`. @default 10000 */
  maxPending?: number
  /** Bytes of those. @default 67108864 */
  maxPendingBytes?: number
  /** How often it is checked that nothing was missed; one request per stream in use. @default 2000 */
  checkPeriodMs?: number
  /** How often a node shows that it lives. @default 1000 */
  beatMs?: number
  /** How long a node may be silent until it counts as dead. @default 5000 */
  nodeTimeoutMs?: number
  /** @default the system's */
  clock?: Clock
}

type Defaulted = Omit<NatsOptions, 'servers'> & { servers: string[] }

/** Options with their defaults filled in; what is left undefined is decided by what the servers are. */
export type NatsSettings = Defaulted &
  Required<
    Pick<
      NatsOptions,
      | 'prefix'
      | 'partitions'
      | 'storage'
      | 'manageStreams'
      | 'adoptHistory'
      | 'connectTimeoutMs'
      | 'publishTimeoutMs'
      | 'maxPending'
      | 'maxPendingBytes'
      | 'checkPeriodMs'
      | 'beatMs'
      | 'nodeTimeoutMs'
      | 'clock'
    >
  >

const minKeyLength = 32
const wholeNumbers = [
  'partitions',
  'replicas',
  'connectTimeoutMs',
  'publishTimeoutMs',
  'maxPending',
  'maxPendingBytes',
  'checkPeriodMs',
  'beatMs',
  'nodeTimeoutMs',
] as const

/** @throws TypeError naming the option and what it must be */
export function readNatsOptions(options: NatsOptions): NatsSettings {
  const settings: NatsSettings = {
    ...options,
    servers: [options.servers ?? 'nats://127.0.0.1:4222'].flat(),
    prefix: options.prefix ?? 'ew',
    partitions: options.partitions ?? 8,
    storage: options.storage ?? 'file',
    manageStreams: options.manageStreams ?? true,
    adoptHistory: options.adoptHistory ?? false,
    connectTimeoutMs: options.connectTimeoutMs ?? 4_000,
    publishTimeoutMs: options.publishTimeoutMs ?? 15_000,
    maxPending: options.maxPending ?? 10_000,
    maxPendingBytes: options.maxPendingBytes ?? 67_108_864,
    checkPeriodMs: options.checkPeriodMs ?? 2_000,
    beatMs: options.beatMs ?? 1_000,
    nodeTimeoutMs: options.nodeTimeoutMs ?? 5_000,
    clock: options.clock ?? systemClock,
  }
  for (const name of wholeNumbers) {
    const value = settings[name]
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1))
      throw new TypeError(`nats: ${name} must be a whole number from 1, it is ${value}`)
  }
  for (const name of ['manageStreams', 'adoptHistory'] as const)
    if (typeof settings[name] !== 'boolean')
      throw new TypeError(`nats: ${name} must be true or false, it is ${String(settings[name])}`)
  if (
    settings.servers.length === 0 ||
    settings.servers.some((server) => typeof server !== 'string' || !server)
  )
    throw new TypeError('nats: servers must be addresses such as nats://127.0.0.1:4222')
  if ((settings.user === undefined) !== (settings.pass === undefined))
    throw new TypeError('nats: user and pass belong together')
  if ((['user', 'token', 'credentials'] as const).filter((name) => settings[name] !== undefined).length > 1)
    throw new TypeError('nats: give user and pass, or token, or credentials, not several')
  if (settings.partitions > 256) throw new TypeError('nats: partitions must be at most 256')
  if (settings.replicas !== undefined && settings.replicas > 5)
    throw new TypeError('nats: replicas must be at most 5')
  if (settings.storage !== 'file' && settings.storage !== 'memory')
    throw new TypeError(`nats: storage must be 'file' or 'memory', it is ${String(settings.storage)}`)
  if (settings.clusterKey !== undefined && settings.clusterKey.length < minKeyLength)
    throw new TypeError(`nats: clusterKey must have ${minKeyLength} characters or more`)
  if (settings.nodeTimeoutMs < 2 * settings.beatMs)
    throw new TypeError('nats: nodeTimeoutMs must be at least twice beatMs')
  return settings
}
