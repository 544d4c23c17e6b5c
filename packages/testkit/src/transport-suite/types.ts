import type { ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Bus, ClientTransport, Clock, EverwireError, GapReason, Position } from '@everwire/core'

/*
 * What the suite needs of the test runner, of a server and of a client, by shape: the testkit depends on core alone,
 * and the packages that it tests hand the rest in.
 */

type Message = [] | [string]

/** The part of tap's `t` that is used. */
export interface SuiteTest {
  test(name: string, run: (t: SuiteTest) => Promise<void>): PromiseLike<unknown>
  equal(found: unknown, wanted: unknown, ...message: Message): boolean
  strictSame(found: unknown, wanted: unknown, ...message: Message): boolean
  match(found: unknown, pattern: unknown, ...message: Message): boolean
  ok(value: unknown, ...message: Message): boolean
  rejects(promise: Promise<unknown>, ...wanted: [{ code: string }]): PromiseLike<unknown>
  teardown(run: () => unknown): unknown
}

export interface SuiteIdentity {
  userId: string | null
  claims?: unknown
  expiresAt?: number
}

/** Options of the server under test, besides its transports. */
export interface SuiteServerOptions {
  authenticate(credentials: {
    token: string | undefined
    transport: string
  }): SuiteIdentity | null | Promise<SuiteIdentity | null>
  bus?: Bus
  clock?: Clock
  heartbeatMs?: number
  pollWaitMs?: number
  resumeWindowMs?: number
  helloTimeoutMs?: number
  unattachedMs?: number
  outboxFrames?: number
  outboxBytes?: number
  frameBytes?: number
  ringSize?: number
  maxSessions?: number
  tokenGraceMs?: number
  highWaterBytes?: number
}

export interface SuiteSession {
  readonly id: string
  readonly userId: string | null
  readonly claims: unknown
  readonly transport: string | undefined
  request(method: string, input?: unknown, options?: { timeoutMs?: number }): Promise<unknown>
  end(code?: 'closed' | 'slow-consumer' | 'forbidden', reason?: string): void
}

/** The part of a Fastify instance that is used. */
export interface SuiteServer {
  readonly server: {
    address(): AddressInfo | string | null
    on(event: 'connection', listener: (socket: Socket) => void): unknown
    on(event: 'request', listener: (request: unknown, response: ServerResponse) => void): unknown
    on(event: 'upgrade', listener: (request: unknown, socket: Duplex) => void): unknown
  }
  readonly everwire: {
    readonly nodeId: string
    readonly bus: Bus
    channel(
      pattern: string,
      options: {
        history?: { size?: number; ttlMs?: number }
        subscribe?: boolean | ((session: SuiteSession, channel: string) => boolean | Promise<boolean>)
        publish?: boolean
        maxRecover?: number
      },
    ): void
    method(name: string, method: (session: SuiteSession, input: unknown) => unknown): void
    publish(channel: string, event: string, data?: unknown): Promise<Position | undefined>
    sessions(userId?: string): SuiteSession[]
  }
  close(): PromiseLike<unknown>
}

export interface SuiteChannel {
  readonly subscribed: boolean
  readonly position: Position | undefined
  on(event: 'gap', listener: (gap: { reason: GapReason; position?: Position }) => void): () => void
  on(event: 'unsubscribed', listener: (info: { code: string }) => void): () => void
  on(
    event: string,
    listener: (data: unknown, meta: { event: string; position?: Position }) => void,
  ): () => void
  subscribe(options?: { position?: Position }): Promise<void>
  unsubscribe(): Promise<void>
  publish(event: string, data?: unknown, options?: { id?: string; timeoutMs?: number }): Promise<unknown>
}

export interface SuiteClientOptions {
  url: string
  transports: readonly ClientTransport[]
  getToken?: () => string | undefined | Promise<string | undefined>
  backoffMs?: number
  maxBackoffMs?: number
  linkTimeoutMs?: number
  upgradeIntervalMs?: number
  queueSize?: number
  clock?: Clock
}

export interface SuiteClient {
  readonly state: string
  readonly transport: string | undefined
  readonly userId: string | null | undefined
  connect(): void
  close(): void
  channel(name: string): SuiteChannel
  request(method: string, input?: unknown, options?: { timeoutMs?: number }): Promise<unknown>
  method(name: string, method: (input: unknown) => unknown): () => void
  switchTo(transport: string): Promise<void>
  ping(): Promise<number>
  on(
    event: 'state',
    listener: (change: { state: string; transport: string | undefined; error?: EverwireError }) => void,
  ): () => void
  stats(): { received: number; sent: number; sessions: number; resumes: number; open: number }
}

/** What a transport package hands in. */
export interface TransportSuiteOptions {
  /** The transport under test, its client half. */
  transport: ClientTransport
  /** Others that the same server offers, to switch to and from. */
  others?: readonly ClientTransport[]
  /** The transport is made of HTTP requests, and the way up is one of its own; otherwise it is a WebSocket. */
  oneWay: boolean
  /** Starts a server on loopback, on `port` or a free one, with the transport and the others; logs go to `log`. */
  start(
    options: SuiteServerOptions,
    on: { port: number; log: { write(line: string): void } },
  ): Promise<SuiteServer>
  createClient(options: SuiteClientOptions): SuiteClient
  /** What joins the nodes. @default the server's own, in process */
  bus?: SuiteBus
  /** Names of the cases to run, by group, for clients that are not made of transports' client halves. @default all */
  only?: Readonly<Record<string, readonly string[]>>
  /** Names of the cases to leave out, by group, or a whole group; for servers that are not one process. @default none */
  except?: Readonly<Record<string, readonly string[] | true>>
}

/** A bus under the transports. */
export interface SuiteBus {
  /** A place that no other test uses; each call of what it returns makes a bus that begins there. */
  place(): () => Bus
  /** What is stored outlives the server. */
  readonly durable: boolean
}
