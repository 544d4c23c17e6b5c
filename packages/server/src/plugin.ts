import {
  EverwireError,
  randomBase32,
  type Bus,
  type Contract,
  type ErrorCode,
  type Position,
} from '@everwire/core'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Registry } from 'prom-client'
import { createChannelResources } from './library-free/resources.js'
import { createFollow, createHistory, type ChannelHistory, type ChannelListener } from './channels/follow.js'
import { createChannelRules, type ChannelOptions } from './channels/rules.js'
import type { ClientSession, Identity, ServerSession, SessionHost } from './client-session.js'
import { Cluster } from './cluster/cluster.js'
import type { DrainReport, DrainTimes } from './cluster/drain.js'
import { checkDescriptors } from './descriptors.js'
import { createFlushScheduler } from './flush-scheduler.js'
import { Gateway, type Credentials } from './gateway.js'
import { Hub, userChannel } from './channels/hub.js'
import { createHookLimit } from './hook-limit.js'
import { guardLoneProcess } from './lone-process.js'
import { createMethods, type Method } from './methods.js'
import { createMetrics } from './metrics.js'
import { Negotiation } from './negotiation.js'
import { Operations } from './operations.js'
import { readOptions, type EverwireOptions } from './options.js'
import { createPublisher, type PublishOptions } from './publisher.js'
import { registerRoutes } from './routes.js'
import { Schemas } from './schemas.js'
import { Sessions } from './sessions.js'

/** What `app.everwire` is. */
export interface Everwire {
  /** Random name of this process on the bus and in session ids; a restart changes it. */
  readonly nodeId: string
  readonly bus: Bus
  /** Path that everything stands under, without a slash at the end. */
  readonly prefix: string
  /**
   * Says what holds for a channel, or for all whose names start so: `chat:*`. The most exact pattern wins. Channels
   * that fit no pattern do not exist, and what a pattern does not allow is denied.
   */
  channel(pattern: string, options: ChannelOptions): void
  /** Answers requests of clients. */
  method(name: string, method: Method): void
  /**
   * Publishes to a channel; resolves with its position once it is stored, or with undefined in a live channel.
   * `data` is any JSON value, or a Uint8Array that stays opaque.
   */
  publish(
    channel: string,
    event: string,
    data?: unknown,
    options?: PublishOptions,
  ): Promise<Position | undefined>
  /** Publishes to the channel `@me` of one user's sessions. */
  publishToUser(
    userId: string,
    event: string,
    data?: unknown,
    options?: PublishOptions,
  ): Promise<Position | undefined>
  /**
   * Reads a channel as the server, from now on: no authorization is asked. Resolves, with the undo, once nothing that
   * comes later can be missed. Rejects with an EverwireError: `unknown-channel`, or what the bus says.
   */
  follow(channel: string, listener: ChannelListener): Promise<() => void>
  /**
   * The publications of a channel before an offset (default: the newest), oldest first, as the server.
   * Rejects with an EverwireError: `unknown-channel`, `no-history`, or what the bus says.
   * @default limit 100
   */
  history(channel: string, options?: { before?: number; limit?: number }): Promise<ChannelHistory>
  /** How many on this node read a channel: sessions, and readers without a library. */
  subscribers(channel: string): number
  /** The sessions that this node owns, of one user or all. */
  sessions(userId?: string): ClientSession[]
  /** A session of this node by its public id. */
  session(id: string): ClientSession | undefined
  /** New clients are welcome: the node neither drains nor is cut off from its bus. `{prefix}/readyz` says the same. */
  readonly ready: boolean
  /**
   * Gives all sessions to other nodes, paced, before the process ends: readiness fails first, new sessions are
   * refused, and what is left at the deadline ends. Then close the application. Called again it is the same drain.
   * @param times those that differ from the options `drainNoticeMs` and `drainMs`
   */
  drain(times?: Partial<DrainTimes>): Promise<DrainReport>
  /** What the plugin was registered with. */
  readonly contract: Contract | undefined
  /** What this node counts. */
  readonly metrics: Registry
}

declare module 'fastify' {
  interface FastifyInstance {
    everwire: Everwire
  }
}

const maxLoggedReason = 200

async function plugin(app: FastifyInstance, options: EverwireOptions): Promise<void> {
  const settings = readOptions(options)
  const {
    clock,
    bus,
    transports,
    prefix,
    outboxFrames,
    outboxBytes,
    frameBytes,
    highWaterBytes,
    pollWaitMs,
  } = settings
  const nodeId = randomBase32(12)
  const log = app.log.child({ node: nodeId })

  const rules = createChannelRules()
  // Every user's own channel: `@me` on the wire.
  rules.add('@user:*', { subscribe: (session, channel) => channel === '@me' && session.userId !== null })
  const metrics = createMetrics(settings.metricsRegistry)
  const hub = new Hub({ bus, rules, ringSize: settings.ringSize, metrics })
  const schemas = new Schemas(settings.contract ?? {}, {
    frameBytes,
    clock,
    timeoutMs: settings.requestTimeoutMs,
  })
  const methods = createMethods(clock, schemas)
  const operations = new Operations({
    hub,
    methods,
    schemas,
    maxSubscriptions: settings.maxSubscriptions,
    maxOperations: settings.maxOperations,
    maxOperationBytes: settings.maxOperationBytes,
    requestTimeoutMs: settings.requestTimeoutMs,
    frameBytes,
    failed: (session, error) => log.error({ err: error, session: session.id }, 'everwire: operation failed'),
  })

  const leaveChannels = (session: ServerSession) => {
    for (const key of session.channels.keys()) hub.unsubscribe(session, key)
    session.channels.clear()
  }
  const host: SessionHost = {
    requestTimeoutMs: settings.requestTimeoutMs,
    after: (ms, run) => clock.after(ms, run),
    schedule: createFlushScheduler(),
    operation: (session, frame, number) => operations.execute(session, frame, number),
    asks: (method, input) => schemas.input(method, input, 'clientMethods'),
    answers: (method, output) => schemas.output(method, output, 'clientMethods'),
    ended: (session: ServerSession, code: ErrorCode, reason: string) => {
      sessions.forget(session)
      cluster.ended(session)
      leaveChannels(session)
      log.debug(
        { session: session.id, code, reason: reason.slice(0, maxLoggedReason) },
        'everwire: session ended',
      )
    },
  }
  const sessions = new Sessions({
    nodeId,
    clock,
    host,
    maxSessions: settings.maxSessions,
    outboxFrames,
    outboxBytes,
    outboxBudgetBytes: settings.outboxBudgetBytes,
    resumeWindowMs: settings.resumeWindowMs,
    unattachedMs: settings.unattachedMs,
  })
  const cluster: Cluster = new Cluster({
    nodeId,
    nodes: bus.nodes,
    clock,
    sessions,
    hub,
    operations,
    metrics,
    resumeWindowMs: settings.resumeWindowMs,
    pollWaitMs,
    handoverIntervalMs: settings.handoverIntervalMs,
    bundleBytes: settings.bundleBytes,
    maxRelays: settings.maxRelays,
    maxRelaysPerAddress: settings.maxRelaysPerAddress,
    accept: (link, identity, offers) => gateway.accept(link, { request: undefined, identity, offers }),
    apply: (session, first, frames) => gateway.apply(session, first, frames),
    left: leaveChannels,
    foreign: guardLoneProcess({ bus, clock, warn: (message) => log.warn(message) }),
    log: (level, fields, message) => log[level](fields, `everwire: ${message}`),
  })

  const limit = createHookLimit({
    clock,
    timeoutMs: settings.helloTimeoutMs,
    late: (hook) =>
      log.error({ hook, timeoutMs: settings.helloTimeoutMs }, 'everwire: a hook did not answer in time'),
  })
  const authenticate = async (credentials: Credentials): Promise<Identity> => {
    const identity = await limit('authenticate', settings.authenticate(credentials))
    if (!identity) throw new EverwireError('unauthorized', 'authenticate refused the client')
    assertIdentity(identity)
    return identity
  }
  const gateway: Gateway = new Gateway({
    nodeId,
    clock,
    sessions,
    operations,
    cluster,
    metrics,
    authenticate,
    negotiation: new Negotiation(
      transports.map(({ name }) => name),
      settings.negotiate,
      limit,
    ),
    limits: {
      heartbeatMs: settings.heartbeatMs,
      resumeWindowMs: settings.resumeWindowMs,
      dedupWindowMs: settings.dedupWindowMs,
      frameBytes,
      ackFrames: Math.max(1, Math.floor(outboxFrames / 4)),
      ackBytes: Math.max(1, Math.floor(outboxBytes / 4)),
      helloTimeoutMs: settings.helloTimeoutMs,
      tokenGraceMs: settings.tokenGraceMs,
    },
    refused: (link, code, error) => {
      const reason = error instanceof Error ? error.message.slice(0, maxLoggedReason) : ''
      if (code === 'internal') log.error({ err: error, transport: link.transport }, 'everwire: link failed')
      else log.info({ transport: link.transport, code, reason }, 'everwire: link refused')
    },
  })

  const resources = createChannelResources({ settings, hub, rules, schemas, authenticate })

  const publish: Everwire['publish'] = createPublisher(hub, schemas)

  const drain = async (times: Partial<DrainTimes> = {}) =>
    await cluster.drain({ noticeMs: settings.drainNoticeMs, deadlineMs: settings.drainMs, ...times })

  checkDescriptors(settings.maxSessions, (message) => log.warn(message))
  await bus.open({
    nodeId,
    dedupWindowMs: settings.dedupWindowMs,
    log: (level, fields, message) => log[level](fields, `everwire: ${message}`),
  })
  // A node that disagrees with the others about what is kept must not serve.
  app.addHook('onReady', async () => {
    for (const rule of rules.all()) await hub.declare(rule)
    cluster.serve()
  })

  app.decorate('everwire', {
    nodeId,
    bus,
    prefix,
    channel: (pattern, channelOptions) => rules.add(pattern, channelOptions),
    method: (name, method) => methods.add(name, method),
    publish,
    follow: createFollow(hub, (error) =>
      log.error({ err: error }, 'everwire: a listener of a channel failed'),
    ),
    history: createHistory(hub),
    subscribers: (channel) => hub.subscribers(channel),
    publishToUser: (userId, ...message) => publish(userChannel(userId), ...message),
    sessions: (userId) =>
      [...sessions].filter((session) => userId === undefined || session.userId === userId),
    session: (id) => sessions.get(id),
    get ready() {
      return cluster.isReady && !sessions.closed
    },
    drain,
    contract: settings.contract,
    metrics: metrics.registry,
  } satisfies Everwire)

  await app.register(
    async (scope) => {
      // The connection of an answer that ends while the server closes would be kept for the next request, which can
      // not come, until keepAliveTimeout.
      scope.addHook('onRequest', async (_request, reply) => {
        reply.raw.once('finish', () => {
          if (sessions.closed) app.server.closeIdleConnections()
        })
      })
      await registerRoutes(scope, { gateway, isReady: () => app.everwire.ready, settings })
      await resources.register(scope)
      for (const transport of transports)
        await transport.register(scope, {
          accept: (link, handshake) => gateway.accept(link, handshake),
          frameBytes,
          highWaterBytes,
          pollWaitMs,
          clock,
        })
    },
    { prefix },
  )

  // Before the server stops listening to its sockets, so that clients hear why, and come back elsewhere.
  app.addHook('preClose', async () => {
    // Whoever closes without a drain has no time to wait for load balancers; the sessions need not end for that.
    await drain({ noticeMs: 0 })
    sessions.close()
    cluster.close()
    resources.close()
  })
  // Requests in flight may keep the server from closing for long: until then the other nodes ask this one.
  app.addHook('onClose', async () => await bus.close().finally(() => cluster.forget()))
}

function assertIdentity({ userId, expiresAt }: Identity): void {
  // It becomes part of a channel name.
  if (
    userId !== null &&
    (typeof userId !== 'string' || userId === '' || encodeURIComponent(userId).length > 190)
  )
    throw new TypeError(
      'authenticate: userId must be null or a string of 1 to 190 characters, percent-encoded',
    )
  if (expiresAt !== undefined && !Number.isFinite(expiresAt))
    throw new TypeError('authenticate: expiresAt must be milliseconds since 1970')
}

/**
 * The Fastify 5 plugin. Register @fastify/websocket before it if the application uses that too.
 * @throws TypeError when an option is wrong, naming it
 */
export const everwire = fp(plugin, { name: '@everwire/server', fastify: '5.x' })
