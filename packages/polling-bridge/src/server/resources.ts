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

export interface ResourcesOptions {
  app: FastifyInstance
  clock: Clock
  sourceHeaders: ((channel: string) => Record<string, string>) | undefined
  sourceTimeoutMs: number
  maxChannels: number
}

/** Which channel is which resource, and how that is read. */
export class Resources {
  readonly #routes = new Map<string, PolledRoute>()
  readonly #maxChannels: number
  /** Learnt longest ago first. */
  readonly #learnt = new Map<string, Resource>()
  /** Of routes whose channel is a name, and whose URL needs nothing. */
  readonly #fixed = new Map<string, Resource>()
  readonly #fetch: ReturnType<typeof createRouteReader>
  readonly #timed: ReturnType<typeof createTimedReads>

  constructor({ app, clock, sourceHeaders, sourceTimeoutMs, maxChannels }: ResourcesOptions) {
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
    if (typeof settings.channel === 'string' && !/[:*]/.test(url))
      this.#fixed.set(settings.channel, { route, url })
  }

  /** A poll has told what a channel is. True when it was not known. */
  learn(channel: string, routeUrl: string, url: string): boolean {
    const route = this.#routes.get(routeUrl)
    if (this.#fixed.has(channel) || !route) return false
    const isNew = !this.#learnt.delete(channel)
    this.#learnt.set(channel, { route, url })
    if (this.#learnt.size > this.#maxChannels) this.#learnt.delete(this.#learnt.keys().next().value!)
    return isNew
  }

  find(channel: string): Resource | undefined {
    return this.#fixed.get(channel) ?? this.#learnt.get(channel)
  }

  /** What polls have told, here or at other nodes. */
  get learnt(): [channel: string, route: string, url: string][] {
    return [...this.#learnt].map(([channel, { route, url }]) => [channel, route.url, url])
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
