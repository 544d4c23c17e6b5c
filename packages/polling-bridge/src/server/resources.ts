import type { Clock } from '@everwire/core'
import type { FastifyInstance } from 'fastify'
import type { Revision } from '../announcement.js'
import type { PollSettings } from './options.js'
import { createRevisions, type Content } from './revision.js'
import { createRouteReader, createTimedReads } from './sources.js'

/** A route that is polled. */
export interface PolledRoute {
  /** As it was registered. */
  readonly url: string
  readonly settings: PollSettings
  revisionOf(content: string | Uint8Array): Revision
}

export const polledRoute = (url: string, settings: PollSettings): PolledRoute => ({
  url,
  settings,
  revisionOf: createRevisions(settings.revision),
})

/** What is read for a channel: a route, and the URL that was asked for. */
export interface Resource {
  readonly route: PolledRoute
  readonly url: string
}

/** `known` it is that resource · `new` it was not known · `other` the channel is of another URL · `full` no room */
export type Learnt = 'known' | 'new' | 'other' | 'full'

export interface ResourcesOptions {
  app: FastifyInstance
  /** Whether a session anywhere is subscribed. */
  isRead(channel: string): boolean
  clock: Clock
  sourceHeaders: ((channel: string) => Record<string, string>) | undefined
  sourceTimeoutMs: number
  maxChannels: number
}

/** Nodes tell each other of many URLs in one message. */
const maxUrlLength = 2_000
/** How long a channel is kept after a poll has told of it, so that its page has the time to subscribe. */
const learntMs = 10_000

/** Which channel is which resource, and how that is read. */
export class Resources {
  readonly #routes = new Map<string, PolledRoute>()
  readonly #maxChannels: number
  readonly #clock: Clock
  readonly #isRead: ResourcesOptions['isRead']
  /** By channel, the URL of the route that names it. */
  readonly #owners = new Map<string, string>()
  /** Learnt longest ago first. */
  readonly #learnt = new Map<string, Resource & { usedAt: number }>()
  /** What other nodes can read, and this one cannot. */
  readonly #foreign = new Set<string>()
  /** Of routes whose channel is a name, and whose URL needs nothing. */
  readonly #fixed = new Map<string, Resource>()
  readonly #fetch: ReturnType<typeof createRouteReader>
  readonly #timed: ReturnType<typeof createTimedReads>

  constructor({ app, isRead, clock, sourceHeaders, sourceTimeoutMs, maxChannels }: ResourcesOptions) {
    this.#clock = clock
    this.#isRead = isRead
    this.#maxChannels = maxChannels
    this.#fetch = createRouteReader(app, sourceHeaders)
    this.#timed = createTimedReads(clock, sourceTimeoutMs)
  }

  get routes(): PolledRoute[] {
    return [...this.#routes.values()]
  }

  add(route: PolledRoute): void {
    const { url, settings } = route
    this.#routes.set(url, route)
    const { channel } = settings
    if (typeof channel !== 'string') return
    const owner = this.#owners.get(channel) ?? url
    if (withoutSlash(owner) !== withoutSlash(url))
      throw new TypeError(
        `pollingBridge: config.poll of ${url}: ${channel} is the channel of ${owner}: a channel is one resource`,
      )
    this.#owners.set(channel, owner)
    if (!/[:*]/.test(url)) this.#fixed.set(channel, { route, url })
  }

  /**
   * A poll has told what a channel is. A channel is one resource: who asks for another, with a query perhaps, must not
   * decide what the readers of the first one get.
   */
  learn(channel: string, routeUrl: string, url: string): Learnt {
    const now = this.#clock.now()
    const fixed = this.#fixed.get(channel)
    if (fixed) return fixed.url === url ? 'known' : 'other'
    const route = this.#routes.get(routeUrl)
    if (!route) {
      if (this.#foreign.size >= this.#maxChannels) {
        const unread = [...this.#foreign].find((one) => !this.#isRead(one))
        if (unread === undefined) return 'full'
        this.#foreign.delete(unread)
      }
      this.#foreign.add(channel)
      return 'other'
    }
    const known = this.#learnt.get(channel)
    if (known && known.url !== url) return 'other'
    if (url.length > maxUrlLength) return 'full'
    if (!known && this.#learnt.size >= this.#maxChannels && !this.#makeRoom(now)) return 'full'
    this.#learnt.delete(channel)
    this.#learnt.set(channel, { route, url, usedAt: now })
    return known ? 'known' : 'new'
  }

  /** Forgets the channel that was polled longest ago and is not subscribed to; whoever was just told of one may be about to. */
  #makeRoom(now: number): boolean {
    for (const [channel, { usedAt }] of this.#learnt) {
      if (now - usedAt < learntMs) return false
      if (this.#isRead(channel)) continue
      this.#learnt.delete(channel)
      return true
    }
    return false
  }

  find(channel: string): Resource | undefined {
    return this.#fixed.get(channel) ?? this.#learnt.get(channel)
  }

  /** What polls have told, here or at other nodes. */
  get learnt(): [channel: string, route: string, url: string][] {
    return [...this.#fixed, ...this.#learnt].map(([channel, { route, url }]) => [channel, route.url, url])
  }

  /** Channels that other nodes can read, and this one cannot. */
  get foreign(): string[] {
    return [...this.#foreign]
  }

  channels(): string[] {
    return [...this.#fixed.keys(), ...this.#learnt.keys()]
  }

  /** Rejects with what the source rejects, or an EverwireError `timeout`. */
  async read(channel: string, { route, url }: Resource): Promise<Content> {
    const { source } = route.settings
    const text = await this.#timed(channel, async (signal) => {
      if (!source) return await this.#fetch(url, { channel, signal })
      const json = JSON.stringify(await source({ channel, signal })) as string | undefined
      if (json === undefined) throw new TypeError(`the source of ${channel} gave nothing that is JSON`)
      return json
    })
    return { text, revision: route.revisionOf(text) }
  }
}

/** Fastify may register both. */
const withoutSlash = (url: string) => url.replace(/\/$/, '')
