import { codeOf } from '@everwire/core'
import type {} from '@everwire/server'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Revision } from '../announcement.js'
import {
  controlChannel,
  keptSettings,
  modeHeader,
  type Control,
  type Mode,
  type PatchOperation,
} from '../change.js'
import { assertResourceChannel } from './channel.js'
import { Switch } from './control.js'
import { FollowedChannels } from './followed.js'
import { createMetrics } from './metrics.js'
import { modeOf } from './modes.js'
import { assertControl, readOptions, type PollingBridgeOptions, type PollOptions } from './options.js'
import { PolledRoutes } from './polled-routes.js'
import { Publisher } from './publisher.js'
import { nodesChannel, Readers } from './readers.js'
import { Resources } from './resources.js'
import { isRevision } from './revision.js'
import { Watch } from './watch.js'
import { userOf } from './who.js'

/** What `app.pollingBridge` is. */
export interface PollingBridge {
  /**
   * The resource of a channel may have changed: reads it once, and publishes what became of it. Never rejects.
   * Resolves once the state that was read after the call is published, or nothing has changed; and after
   * `changedWaitMs` at the latest: while the bus is away it is tried again without anybody waiting. Calls that come
   * together are one read.
   */
  changed(channel: string): Promise<void>
  /**
   * Publishes the whole resource, as its route would send it. Rejects with an EverwireError: what the bus says.
   * @default revision what the route says of such data
   */
  snapshot(channel: string, data: unknown, options?: { revision?: Revision }): Promise<void>
  /** Publishes what makes of one state another, as a JSON Patch (RFC 6902). Rejects as `snapshot` does. */
  patch(channel: string, patch: PatchOperation[], states: { from: Revision; to: Revision }): Promise<void>
  /** Publishes that something changed, so that clients ask again. Rejects as `snapshot` does. */
  invalidate(channel: string): Promise<void>
  /**
   * The operators' switch, at all nodes; what is left away is as the options say. Resolves once it is stored.
   * @throws TypeError naming what is wrong
   */
  set(control: Control): Promise<void>
  /** What an operator wants to see of this node. */
  state(): PollingBridgeState
}

export interface PollingBridgeState {
  /** The most that a request gets now. */
  mode: Mode
  rollout: number
  /** What operators have switched. */
  control: Control
  /** Channels that are followed. */
  followed: number
  /** Channels with subscribers here that are watched, and the node that reads them. */
  watched: { channel: string; leader: string }[]
  /** Handlers run for polls, polls that got the outcome of another's, and groups of equal polls under way. */
  executions: { run: number; shared: number; running: number }
}

declare module 'fastify' {
  interface FastifyInstance {
    pollingBridge: PollingBridge
  }
  interface FastifyContextConfig {
    /** Makes a GET route one that clients may follow live. */
    poll?: PollOptions
  }
}

const yearMs = 365 * 86_400_000
/** Of each kind of trouble the log has one line in this time. */
const logMs = 10_000

async function plugin(app: FastifyInstance, options: PollingBridgeOptions): Promise<void> {
  const settings = readOptions(options)
  if (!app.hasDecorator('everwire'))
    throw new TypeError('pollingBridge: register everwire before it: app.register(everwire, …)')
  const { clock, maxChannels } = settings
  const { everwire } = app
  const metrics = createMetrics(everwire.metrics)
  const executions = { run: 0, shared: 0 }

  const loggedAt = new Map<string, number>()
  const log = app.log.child({ node: everwire.nodeId })
  const failed = (what: string, fields: Record<string, unknown>, error: unknown) => {
    metrics.failures.inc({ what })
    const now = clock.now()
    if (now - (loggedAt.get(what) ?? -Infinity) < logMs) return
    loggedAt.set(what, now)
    log.warn({ ...fields, err: error }, `polling-bridge: ${what} failed`)
  }

  everwire.channel(controlChannel, { history: { size: keptSettings, ttlMs: yearMs }, subscribe: true })
  everwire.channel(nodesChannel, {})

  const control = new Switch({
    everwire,
    clock,
    switched: (now) => log.info({ control: now }, 'polling-bridge: switched'),
    failed: (error) => failed('control', {}, error),
  })
  const resources: Resources = new Resources({
    app,
    ...settings,
    sourceHeaders: settings.sourceHeaders,
    isRead: (channel) => readers.isRead(channel),
  })
  const channels = new FollowedChannels({
    ...settings,
    everwire,
    isNeeded: (channel) => watch.has(channel),
    failed: (channel, error) => failed('follow', { channel }, error),
  })
  const publisher = new Publisher({
    everwire,
    clock,
    channels,
    resources,
    limits: settings,
    maxChannels,
    published: (event) => metrics.publications.inc({ event }),
    read: (result) => metrics.reads.inc({ result }),
    failed: (what, channel, error) => failed(what, { channel }, error),
  })
  const watch: Watch = new Watch({
    clock,
    settings: (channel) => resources.find(channel)?.route.settings,
    refresh: (channel) => publisher.refresh(channel),
    log: (level, fields, message) => log[level](fields, `polling-bridge: ${message}`),
    failed: (what, channel, error) => failed(what, { channel }, error),
  })
  const readers: Readers = new Readers({
    everwire,
    clock,
    resources,
    maxChannels,
    isLive: () => most() === 'live',
    lead: (mine) => watch.lead(mine),
    failed: (error) => failed('readers', {}, error),
  })

  const rollout = () => control.control.rollout ?? settings.rollout
  /** Most that any request gets now. */
  const most = () =>
    modeOf({
      most: settings.mode,
      switched: control.control.mode,
      header: 'live',
      rollout: 100,
      user: () => '',
    })
  /** An application that does not know who asks is told, and its polls go on as those of nobody known. */
  const who = (request: FastifyRequest): string | undefined => {
    try {
      return userOf(request, settings.user)
    } catch (error) {
      failed('user', { url: request.url }, error)
      return undefined
    }
  }
  const mode = (request: FastifyRequest): Mode =>
    modeOf({
      most: settings.mode,
      switched: control.control.mode,
      header: request.headers[modeHeader],
      rollout: rollout(),
      user: () => who(request) ?? request.ip,
    })
  const routes = new PolledRoutes({
    settings,
    prefix: everwire.prefix,
    channels,
    resources,
    mode,
    who,
    learnt(channel, route, url) {
      const learnt = resources.learn(channel, route.url, url)
      if (learnt === 'new') readers.learnt(channel, route.url, url)
      return learnt === 'new' || learnt === 'known'
    },
    polled: (answered, result) => metrics.polls.inc({ mode: answered, result }),
    executed(result) {
      executions[result]++
      metrics.executions.inc({ result })
    },
    failed: (what, route, error) => failed(what, { route }, error),
  })
  app.addHook('onRoute', (route) => routes.wrap(route))

  app.decorate('pollingBridge', {
    changed: async (channel) => {
      try {
        assertResourceChannel(channel)
      } catch (error) {
        return failed('publish', { channel }, error)
      }
      // A writer must not wait for a bus that is away.
      await briefly(publisher.changed(channel), settings.changedWaitMs)
    },
    snapshot: (channel, data, { revision } = {}) => {
      assertRevisions({ ...(revision !== undefined && { revision }) })
      return publisher.snapshot(assertChannel(channel), data, revision)
    },
    patch: (channel, patch, { from, to }) => {
      if (!Array.isArray(patch)) throw new TypeError('pollingBridge: patch must be a list of operations')
      assertRevisions({ from, to })
      return publisher.patch(assertChannel(channel), patch, from, to)
    },
    invalidate: (channel) => publisher.invalidate(assertChannel(channel)),
    set: (next) => {
      assertControl(next)
      return control.set(next)
    },
    state: () => ({
      mode: most(),
      rollout: rollout(),
      control: control.control,
      followed: channels.size,
      watched: readers.watched,
      executions: { ...executions, running: routes.running },
    }),
  } satisfies PollingBridge)

  /** No longer than polls wait for the bus. */
  const briefly = (what: Promise<unknown>, ms = settings.announceWaitMs) =>
    new Promise<void>((resolve, reject) => {
      const cancel = clock.after(ms, resolve)
      what.finally(cancel).then(() => resolve(), reject)
    })
  app.addHook('onReady', async () => {
    for (const { url, settings: poll } of resources.routes)
      if (typeof poll.channel === 'string') await briefly(assertRule(app, url, poll.channel))
    await briefly(control.start())
    // Without a route too: sessions may be here, and the routes elsewhere.
    readers.start()
  })

  const close = async () => {
    const bye = readers.close()
    control.close()
    publisher.close()
    routes.close()
    channels.close()
    await briefly(bye)
  }
  app.addHook('preClose', close)
  app.addHook('onClose', close)
}

/** @throws TypeError saying which rule the application lacks */
async function assertRule(app: FastifyInstance, url: string, channel: string): Promise<void> {
  try {
    await app.everwire.history(channel, { limit: 1 })
  } catch (error) {
    const code = codeOf(error)
    // The bus may be away: that is no fault of the route's.
    if (code !== 'unknown-channel' && code !== 'no-history') return
    throw new TypeError(
      `pollingBridge: config.poll of ${url}: the channel ${channel} needs a rule with history: ` +
        `app.everwire.channel('${channel}', { history: { size: 100 }, subscribe: … })`,
      { cause: error },
    )
  }
}

function assertChannel(channel: string): string {
  try {
    assertResourceChannel(channel)
  } catch (cause) {
    throw new TypeError(`pollingBridge: not the name of a resource's channel: ${String(channel)}`, { cause })
  }
  return channel
}

function assertRevisions(revisions: Record<string, unknown>): void {
  for (const [name, revision] of Object.entries(revisions))
    if (!isRevision(revision))
      throw new TypeError(`pollingBridge: ${name} must be a whole number from 0, or a text`)
}

/**
 * The Fastify 5 plugin. Register it after everwire, and before the routes that say `config.poll`.
 * @throws TypeError when an option is wrong, naming it
 */
export const pollingBridge = fp(plugin, { name: '@everwire/polling-bridge', fastify: '5.x' })
