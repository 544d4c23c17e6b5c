import {
  defaults,
  randomBase32,
  systemClock,
  type Bus,
  type Clock,
  type Contract,
  type ServerTransport,
} from '@everwire/core'
import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import type { Identity } from './client-session.js'
import type { Credentials } from './gateway.js'
import { tokenCharacters } from './library-free/request.js'
import { memoryBus } from './memory-bus.js'
import type { Negotiate } from './negotiation.js'

export interface EverwireOptions {
  /** Path that everything stands under. @default '/everwire' */
  prefix?: string
  /** The transports on offer, the server halves. */
  transports: readonly ServerTransport<FastifyInstance>[]
  /**
   * Says who a client is, at every attach. Throw an EverwireError to refuse with its code (`unauthorized`,
   * `token-expired`); return null to refuse as `unauthorized`. For a public service return `{ userId: null }`. What
   * takes longer than `helloTimeoutMs` is logged and refused as `temporary`, which clients try again.
   */
  authenticate(credentials: Credentials): Identity | null | Promise<Identity | null>
  /**
   * Allows, refuses and orders transports for one request, each with a reason that the client is told. Return those
   * that it has something to say about, the best first: clients then follow that order. What it leaves out stays on
   * offer, after those. Asked when a session is opened, at each new link once it has authenticated, and at a probe,
   * which has not: `userId` is undefined then. Throw an EverwireError to refuse with its code; whatever else it throws
   * refuses as `internal`, one that leaves no transport as `no-transport`, and one that takes longer than
   * `helloTimeoutMs` as `temporary`, which clients try again; that is logged.
   * @default all are offered, in the client's own order
   */
  negotiate?: Negotiate
  /**
   * What clients and this server agree on: every publication that a client, a program without a library, or
   * `app.everwire.publish` makes is checked, and so are the inputs and outputs of methods. What a channel or method
   * does not name is refused or unknown; channels that no entry fits pass unchecked. A schema that takes longer than
   * `requestTimeoutMs` refuses as `timeout`. See `typed`. @default none
   */
  contract?: Contract
  /** What joins nodes. @default in process */
  bus?: Bus
  /**
   * Origins of pages on other hosts that may connect, exactly as browsers send them: `https://app.example.com`. In an
   * application that has registered @fastify/cors itself, name them there too. @default none
   */
  origins?: readonly string[]
  /** @default 25000 */
  heartbeatMs?: number
  /** How long a long poll is held. @default 25000 */
  pollWaitMs?: number
  /** How long a session outlives its last link. @default 60000 */
  resumeWindowMs?: number
  /**
   * A link must attach within this, or is refused as `hello-timeout`; and `authenticate` and `negotiate` must each
   * answer within it. @default 5000
   */
  helloTimeoutMs?: number
  /** A session that was opened but never attached ends after this. @default 10000 */
  unattachedMs?: number
  /** Frames kept for replay, per session. @default 1000 */
  outboxFrames?: number
  /** Bytes kept for replay, per session. @default 1048576 */
  outboxBytes?: number
  /**
   * Bytes kept for replay by all sessions of the node together; a publication that several keep counts once. Beyond
   * it the sessions that have been without a link for longest end first, then those that keep most. @default 268435456
   */
  outboxBudgetBytes?: number
  /** Publications kept per channel on a node. @default 100 */
  ringSize?: number
  /** Largest frame in bytes. @default 65536 */
  frameBytes?: number
  /** Channels per session. @default 200 */
  maxSubscriptions?: number
  /** Operations of one session that may be unanswered. @default 1000 */
  maxOperations?: number
  /** Bytes of the payloads of those. @default 4194304 */
  maxOperationBytes?: number
  /** Sessions per node. @default 100000 */
  maxSessions?: number
  /** How long after its expiry a token still serves the link that it opened. @default 25000 */
  tokenGraceMs?: number
  /** How long requests wait for their reply, in both directions, and payloads for their schema. @default 10000 */
  requestTimeoutMs?: number
  /** Within this a repeated publication id is recognised; the bus must agree. @default 120000 */
  dedupWindowMs?: number
  /** Bytes waiting in a socket above which its link counts as blocked. @default 262144 */
  highWaterBytes?: number
  /**
   * Keys with which other programs publish as the server, over plain HTTP; each a secret of 32 characters or more,
   * of those that `Authorization: Bearer` can carry: letters, digits and `_.~+/=-`.
   * @default none
   */
  serverKeys?: readonly string[]
  /**
   * Secret of 32 characters or more that the nodes share, so that a ticket of one serves at the others.
   * @default a random one: tickets serve at the node that made them
   */
  ticketKey?: string
  /** How long a ticket may wait to be used. @default 10000 */
  ticketMs?: number
  /** How long the streams that a ticket opened may be resumed without authenticating again. @default 3600000 */
  ticketStreamMs?: number
  /** Event streams and held polls without a library, per node. @default 10000 */
  maxStreams?: number
  /** How long an event stream without a library lasts at most; its reader comes back. @default 60000 */
  streamMs?: number
  /** Bytes that may wait in the socket of an event stream without a library before it is ended. @default 262144 */
  streamBytes?: number
  /** Publications in one answer to a read without a library. @default 200 */
  chunkSize?: number
  /** Bytes of publications in such an answer; one publication goes out in any case. @default 262144 */
  chunkBytes?: number
  /** How long `drain` may take, in milliseconds; sessions that are left then end. @default 30000 */
  drainMs?: number
  /**
   * How long a node that drains is not ready before its first session is handed over: as long as the load balancer
   * may take to notice. Closing the application without `drain` waits for nothing. @default 2000
   */
  drainNoticeMs?: number
  /** A session moves between nodes at most once in this, unless its node drains. @default 2000 */
  handoverIntervalMs?: number
  /** Largest session that is handed over, in bytes of JSON; a larger one ends, and recovers by position. @default 1048576 */
  bundleBytes?: number
  /** Polls, uplinks and handovers under way to one other node, on behalf of clients. @default 10000 */
  maxRelays?: number
  /** The same for one address, to whichever node: Fastify's `request.ip`, which behind a proxy needs `trustProxy`. @default 2500 */
  maxRelaysPerAddress?: number
  /** Where what this node counts is registered; hand in prom-client's own to have it beside yours. @default a new one */
  metricsRegistry?: Registry
  /** @default the system's */
  clock?: Clock
}

const minSecretLength = 32

/** Options that may stay away: nothing stands in for them. */
type Unset = 'metricsRegistry' | 'negotiate' | 'contract'

/** Options with every default filled in. */
export type Settings = Required<Omit<EverwireOptions, Unset>> & {
  [Name in Unset]: EverwireOptions[Name] | undefined
}

/** Options that may be nothing at all. */
const mayBeZero = ['drainNoticeMs', 'handoverIntervalMs']

/** @throws TypeError naming the option and what it must be */
export function readOptions(options: EverwireOptions): Settings {
  const { transports, authenticate, prefix = '/everwire' } = options
  if (!Array.isArray(transports) || transports.length === 0)
    throw new TypeError('everwire: transports must name at least one transport, as in [webSocket(), sse()]')
  const names = transports.map(({ name }) => name as string)
  if (new Set(names).size < names.length)
    throw new TypeError(`everwire: a transport is there twice: ${names.join(', ')}`)
  if (typeof authenticate !== 'function')
    throw new TypeError(
      'everwire: authenticate must say who a client is; for a public service: authenticate: () => ({ userId: null })',
    )
  if (options.negotiate !== undefined && typeof options.negotiate !== 'function')
    throw new TypeError('everwire: negotiate must be a function')
  if (!/^(\/[\w.~-]+)+$/.test(prefix))
    throw new TypeError(`everwire: prefix must be a path such as /everwire: ${prefix}`)
  for (const origin of options.origins ?? [])
    if (!URL.canParse(origin) || new URL(origin).origin !== origin)
      throw new TypeError(
        `everwire: origins must be as browsers send them, as in https://app.example.com: ${origin}`,
      )
  const settings: Settings = {
    prefix,
    transports,
    authenticate,
    origins: options.origins ?? [],
    clock: options.clock ?? systemClock,
    bus: options.bus ?? memoryBus({ clock: options.clock, dedupWindowMs: options.dedupWindowMs }),
    heartbeatMs: options.heartbeatMs ?? defaults.heartbeatMs,
    pollWaitMs: options.pollWaitMs ?? defaults.pollWaitMs,
    resumeWindowMs: options.resumeWindowMs ?? defaults.resumeWindowMs,
    helloTimeoutMs: options.helloTimeoutMs ?? defaults.helloTimeoutMs,
    unattachedMs: options.unattachedMs ?? defaults.unattachedMs,
    outboxFrames: options.outboxFrames ?? defaults.outboxFrames,
    outboxBytes: options.outboxBytes ?? defaults.outboxBytes,
    outboxBudgetBytes: options.outboxBudgetBytes ?? defaults.outboxBudgetBytes,
    ringSize: options.ringSize ?? defaults.ringSize,
    frameBytes: options.frameBytes ?? defaults.frameBytes,
    maxSubscriptions: options.maxSubscriptions ?? defaults.subscriptions,
    maxOperations: options.maxOperations ?? defaults.operations,
    maxOperationBytes: options.maxOperationBytes ?? defaults.operationBytes,
    maxSessions: options.maxSessions ?? 100_000,
    tokenGraceMs: options.tokenGraceMs ?? defaults.tokenGraceMs,
    requestTimeoutMs: options.requestTimeoutMs ?? defaults.requestTimeoutMs,
    dedupWindowMs: options.dedupWindowMs ?? defaults.dedupWindowMs,
    highWaterBytes: options.highWaterBytes ?? defaults.highWaterBytes,
    serverKeys: options.serverKeys ?? [],
    ticketKey: options.ticketKey ?? randomBase32(52),
    ticketMs: options.ticketMs ?? defaults.ticketMs,
    ticketStreamMs: options.ticketStreamMs ?? defaults.ticketStreamMs,
    maxStreams: options.maxStreams ?? defaults.streams,
    streamMs: options.streamMs ?? defaults.streamMs,
    streamBytes: options.streamBytes ?? defaults.streamBytes,
    chunkSize: options.chunkSize ?? defaults.chunkSize,
    chunkBytes: options.chunkBytes ?? defaults.chunkBytes,
    drainMs: options.drainMs ?? defaults.drainMs,
    drainNoticeMs: options.drainNoticeMs ?? defaults.drainNoticeMs,
    handoverIntervalMs: options.handoverIntervalMs ?? defaults.handoverIntervalMs,
    bundleBytes: options.bundleBytes ?? defaults.bundleBytes,
    maxRelays: options.maxRelays ?? defaults.relays,
    maxRelaysPerAddress: options.maxRelaysPerAddress ?? defaults.relaysPerAddress,
    metricsRegistry: options.metricsRegistry,
    negotiate: options.negotiate,
    contract: options.contract,
  }
  // The value itself belongs in no message.
  for (const secret of [...settings.serverKeys, settings.ticketKey])
    if (typeof secret !== 'string' || secret.length < minSecretLength)
      throw new TypeError(
        `everwire: serverKeys and ticketKey must be secrets of ${minSecretLength} characters or more`,
      )
  const sendable = new RegExp(`^${tokenCharacters}+$`)
  if (!settings.serverKeys.every((key) => sendable.test(key)))
    throw new TypeError(
      `everwire: serverKeys must match ${sendable.source}, or no Authorization header can carry them`,
    )
  for (const [name, value] of Object.entries(settings)) {
    const least = mayBeZero.includes(name) ? 0 : 1
    if (typeof value === 'number' && (!Number.isSafeInteger(value) || value < least))
      throw new TypeError(`everwire: ${name} must be a whole number from ${least}, it is ${value}`)
  }
  if (settings.frameBytes < 2_048) throw new TypeError('everwire: frameBytes must be 2048 or more')
  return settings
}
