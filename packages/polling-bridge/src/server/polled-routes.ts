import type { Position } from '@everwire/core'
import type {
  FastifyReply,
  FastifyRequest,
  onSendHookHandler,
  RouteHandlerMethod,
  RouteOptions,
} from 'fastify'
import type { Mode } from '../change.js'
import { announce, expose, isFresh, nameState } from './answer.js'
import { assertResourceChannel } from './channel.js'
import { Executions } from './executions.js'
import type { Followed, FollowedChannels } from './followed.js'
import { readPoll, type PollOptions, type Settings } from './options.js'
import { digest } from './revision.js'
import { varyOf } from './outcome.js'
import { polledRoute, type PolledRoute, type Resources } from './resources.js'
import { pollKey } from './who.js'

/** A poll under way. */
interface Poll {
  readonly route: PolledRoute
  readonly executions: Executions
  readonly mode: Mode
  readonly followed: Followed | undefined
  /** Known before the handler began. */
  position: Position | undefined
}

export type PollResult = 'full' | 'not-modified' | 'other'

export interface PolledRoutesOptions {
  settings: Settings
  /** Path of the channels. */
  prefix: string
  channels: FollowedChannels
  resources: Resources
  mode(request: FastifyRequest): Mode
  /** Who asks, where the application says so. */
  who(request: FastifyRequest): string | undefined
  /** A poll has told what its channel is. False when the channel is another resource's, or there is no room. */
  learnt(channel: string, route: PolledRoute, url: string): boolean
  polled(mode: Mode, result: PollResult): void
  executed(result: 'run' | 'shared'): void
  failed(what: 'channel' | 'revision', where: string, error: unknown): void
}

/** Wraps the routes that say `config.poll`. */
export class PolledRoutes {
  readonly #options: PolledRoutesOptions
  readonly #polls = new WeakMap<FastifyReply, Poll>()
  readonly #executions: Executions[] = []

  constructor(options: PolledRoutesOptions) {
    this.#options = options
  }

  /** Handlers that run, and polls that wait for one, as lanes of equal polls. */
  get running(): number {
    return this.#executions.reduce((sum, { size }) => sum + size, 0)
  }

  /** @throws TypeError naming the route and what is wrong */
  wrap(options: RouteOptions & { routePath?: string }): void {
    const poll = options.config?.poll as PollOptions | undefined
    if (!poll) return
    const methods = [options.method].flat()
    if (!methods.some((method) => method === 'GET' || method === 'HEAD'))
      throw new TypeError(`pollingBridge: config.poll of ${options.url}: only GET routes are polled`)
    const route = polledRoute(options.url, readPoll(poll, options.url))
    if (methods.includes('GET')) this.#options.resources.add(route)
    const { slowMs, clock } = this.#options.settings
    const executions = new Executions({ clock, slowMs, counted: this.#options.executed })
    this.#executions.push(executions)
    options.handler = this.#handler(route, executions, options.handler)
    const hooks = [options.onSend ?? []].flat() as onSendHookHandler[]
    // Before those that change the body, such as compression.
    if (!hooks.includes(this.#onSend)) options.onSend = [this.#onSend, ...hooks]
  }

  close(): void {
    for (const executions of this.#executions) executions.close()
  }

  #handler(route: PolledRoute, executions: Executions, handler: RouteHandlerMethod): RouteHandlerMethod {
    const routes = this.#options
    const begin = async (request: FastifyRequest, reply: FastifyReply, mode: Mode, run: () => unknown) => {
      const channel = mode === 'live' ? this.#channelOf(route, request) : null
      const followed = channel === null ? undefined : await routes.channels.soon(channel)
      const poll: Poll = { route, executions, mode, followed, position: undefined }
      this.#polls.set(reply, poll)
      return await executions.answer({
        request,
        reply,
        key: JSON.stringify([channel, pollKey(request, route.settings, routes.who)]),
        handler: run,
        begin: () => followed?.position,
        begins: (position) => (poll.position = position as Position | undefined),
      })
    }
    return function (request, reply) {
      const isPoll = request.method === 'GET' || request.method === 'HEAD'
      const mode = isPoll ? routes.mode(request) : 'off'
      if (mode === 'off') return handler.call(this, request, reply)
      return begin(request, reply, mode, () => handler.call(this, request, reply))
    }
  }

  #channelOf({ url, settings }: PolledRoute, request: FastifyRequest): string | null {
    if (typeof settings.channel === 'string') return settings.channel
    try {
      const channel: unknown = settings.channel(request)
      if (channel === null) return null
      if (channel instanceof Promise) channel.catch(() => {})
      if (typeof channel !== 'string')
        throw new TypeError(`channel must be a text or null: ${typeof channel}`)
      assertResourceChannel(channel)
      return channel
    } catch (error) {
      this.#options.failed('channel', url, error)
      return null
    }
  }

  readonly #onSend: onSendHookHandler = (request, reply, payload, done) => {
    const poll = this.#polls.get(reply)
    if (!poll) return done(null, payload)
    this.#polls.delete(reply)
    poll.executions.answered(reply)
    const result = this.#complete(poll, request, reply, payload)
    this.#options.polled(poll.mode, result)
    if (result !== 'not-modified') return done(null, payload)
    reply.code(304).removeHeader('content-type').removeHeader('content-length')
    // The framework's own hook for HEAD takes the length of it.
    done(null, request.method === 'HEAD' ? '' : null)
  }

  #complete(poll: Poll, request: FastifyRequest, reply: FastifyReply, payload: unknown): PollResult {
    const { route, followed, position } = poll
    const isWhole = typeof payload === 'string' || payload instanceof Uint8Array
    if (reply.statusCode !== 200 || !isWhole || reply.hasHeader('content-encoding')) return 'other'
    let revision
    try {
      revision = route.revisionOf(payload)
    } catch (error) {
      this.#options.failed('revision', route.url, error)
      return 'other'
    }
    const isOurs =
      followed?.position &&
      !isOneOfMany(route.settings, reply) &&
      this.#options.learnt(followed.channel, route, request.originalUrl)
    const announced = isOurs ? position : undefined
    nameState(reply, route.settings.revision ? digest(payload) : revision, {
      shared: route.settings.shared,
      announced: announced !== undefined,
    })
    if (announced) {
      const { channel } = followed!
      announce(reply, this.#options.prefix, {
        channel,
        revision,
        position: announced,
      })
    }
    expose(reply)
    return isFresh(request, reply) ? 'not-modified' : 'full'
  }
}

/** What caches and browsers are told, and does not change what is in an answer. */
const harmlessVaries = ['accept-encoding', 'origin', 'authorization', 'cookie']

/** Whether the route has other answers too, for other request headers: one channel cannot bring them all. */
const isOneOfMany = ({ channel }: PolledRoute['settings'], reply: FastifyReply): boolean =>
  typeof channel === 'string' && varyOf(reply).some((name) => !harmlessVaries.includes(name))
