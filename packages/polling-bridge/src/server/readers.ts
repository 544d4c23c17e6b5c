import type { Cancel, Clock } from '@everwire/core'
import type { Everwire } from '@everwire/server'
import type { Resources } from './resources.js'

/** Live channel on which nodes tell each other who reads what. */
export const nodesChannel = 'polling-bridge:nodes'

const event = 'reads'
/** How often a node says which channels it has subscribers of. */
const sayMs = 1_000
/** How soon a node notices its own first subscriber. */
const lookMs = 250
/** A node that was not heard for this long does not count. */
const silenceMs = 3_000
/** Channels in one message. */
const chunkSize = 100

/** What a node says: the channels with subscribers that it can read, and where it has learnt that channels are read. */
interface Saying {
  node: string
  reads?: string[]
  /** Channels with subscribers that it cannot read itself: whoever can is to do it. */
  asks?: string[]
  learnt?: [channel: string, route: string, url: string][]
  /** It is new: what was said before it must be said again. */
  hello?: true
  /** Nothing more comes: it closes. */
  bye?: true
}

export interface ReadersOptions {
  everwire: Pick<Everwire, 'nodeId' | 'publish' | 'follow' | 'subscribers'>
  clock: Clock
  resources: Resources
  maxChannels: number
  /** Whether anything may go live now. */
  isLive(): boolean
  /** This node is to read these channels from now on, and no others. */
  lead(channels: ReadonlySet<string>): void
  failed(error: unknown): void
}

/** Which of the nodes with subscribers reads a channel: the one with the smallest id. That two do so does no harm. */
export class Readers {
  readonly #options: ReadersOptions
  /** When each other node was last heard with a channel. */
  readonly #heard = new Map<string, Map<string, number>>()
  /** When somebody last asked for a channel that it cannot read itself. */
  readonly #asked = new Map<string, number>()
  #mine = new Set<string>()
  #untold: NonNullable<Saying['learnt']> = []
  #saidAt = -Infinity
  #timer: Cancel | undefined
  #stop: (() => void) | undefined
  #isFollowing = false
  #closed = false

  constructor(options: ReadersOptions) {
    this.#options = options
  }

  /** Channels with subscribers here, and who reads them. */
  get watched(): { channel: string; leader: string }[] {
    return [...this.#mine].map((channel) => ({ channel, leader: this.#leader(channel) }))
  }

  /** Whether a session anywhere is subscribed, as far as is known. */
  isRead(channel: string): boolean {
    return this.#mine.has(channel) || this.#heard.has(channel) || this.#asked.has(channel)
  }

  start(): void {
    this.#untold = this.#options.resources.learnt
    this.#look()
  }

  /** A poll has told what this node had not known: others may need it. */
  learnt(channel: string, route: string, url: string): void {
    this.#untold.push([channel, route, url])
    if (this.#untold.length > this.#options.maxChannels) this.#untold.shift()
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#timer?.()
    this.#stop?.()
    this.#options.lead(new Set())
    if (this.#mine.size > 0) await this.#say({ bye: true })
  }

  #look(): void {
    if (this.#closed) return
    const { clock, resources, everwire, isLive, lead } = this.#options
    this.#timer = clock.after(lookMs, () => this.#look())
    this.#follow()
    this.#forgetSilent()
    const isWanted = (channel: string) => {
      const { watchMs, signal } = resources.find(channel)!.route.settings
      if (watchMs === false && !signal) return false
      return everwire.subscribers(channel) > 0 || this.#asked.has(channel)
    }
    const mine = new Set(isLive() ? resources.channels().filter(isWanted) : [])
    const isNew = [...mine].some((channel) => !this.#mine.has(channel))
    this.#mine = mine
    if (isNew || clock.now() - this.#saidAt >= sayMs) this.#sayAll()
    lead(new Set([...mine].filter((channel) => this.#leader(channel) === everwire.nodeId)))
  }

  #leader(channel: string): string {
    const others = this.#heard.get(channel)?.keys() ?? []
    return [this.#options.everwire.nodeId, ...others].sort()[0]!
  }

  #sayAll(): void {
    const learnt = this.#untold.splice(0)
    const reads = [...this.#mine]
    const { resources, everwire, clock } = this.#options
    const asks = resources.foreign.filter((channel) => everwire.subscribers(channel) > 0)
    const most = Math.max(reads.length, learnt.length, asks.length)
    if (most > 0) this.#saidAt = clock.now()
    for (let at = 0; at < most; at += chunkSize) {
      const part = <T>(all: T[]) => all.slice(at, at + chunkSize)
      void this.#say({ reads: part(reads), asks: part(asks), learnt: part(learnt) })
    }
  }

  async #say(saying: Omit<Saying, 'node'>): Promise<void> {
    const { everwire, failed } = this.#options
    try {
      await everwire.publish(nodesChannel, event, { node: everwire.nodeId, ...saying } satisfies Saying)
    } catch (error) {
      failed(error)
    }
  }

  #follow(): void {
    if (this.#isFollowing) return
    this.#isFollowing = true
    this.#options.everwire
      .follow(nodesChannel, {
        publication: ({ event: said, data }) => {
          if (said === event) this.#hear(data as Saying)
        },
      })
      .then(
        (stop) => {
          if (this.#closed) return stop()
          this.#stop = stop
          void this.#say({ hello: true })
        },
        (error: unknown) => {
          this.#isFollowing = false
          this.#options.failed(error)
        },
      )
  }

  #hear({ node, reads = [], asks = [], learnt = [], hello, bye }: Saying): void {
    const { everwire, clock, resources, maxChannels } = this.#options
    if (node === everwire.nodeId || this.#closed) return
    for (const [channel, route, url] of learnt) resources.learn(channel, route, url)
    if (hello) {
      this.#untold = resources.learnt.slice(-maxChannels)
      this.#saidAt = -Infinity
    }
    for (const channel of asks)
      if (this.#asked.size < maxChannels || this.#asked.has(channel)) this.#asked.set(channel, clock.now())
    if (bye) return this.#forget((other) => other === node)
    for (const channel of reads) {
      const heard = this.#heard.get(channel) ?? new Map<string, number>()
      if (this.#heard.size >= maxChannels && !this.#heard.has(channel)) continue
      this.#heard.set(channel, heard.set(node, clock.now()))
    }
  }

  #forgetSilent(): void {
    const now = this.#options.clock.now()
    this.#forget((_node, at) => now - at > silenceMs)
    for (const [channel, at] of this.#asked) if (now - at > silenceMs) this.#asked.delete(channel)
  }

  #forget(isGone: (node: string, heardAt: number) => boolean): void {
    for (const [channel, nodes] of this.#heard) {
      for (const [node, at] of nodes) if (isGone(node, at)) nodes.delete(node)
      if (nodes.size === 0) this.#heard.delete(channel)
    }
  }
}
