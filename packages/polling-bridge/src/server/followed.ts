import { backoff, type Cancel, type Clock, type Position } from '@everwire/core'
import type { Everwire, FollowedPublication } from '@everwire/server'
import type { Revision } from '../announcement.js'
import { applyPatch } from '../apply-patch.js'
import type { Changes } from '../change.js'
import { isRevision } from './revision.js'

/** A state of a resource with its data, as JSON. */
export interface Known {
  readonly revision: Revision
  readonly data: unknown
}

/** A channel of a resource that this node follows. */
export interface Followed {
  readonly channel: string
  /** Everything up to here was published before now; undefined while the channel cannot be followed. */
  readonly position: Position | undefined
  /** The newest publication known: the state that it makes, null where it does not say. */
  readonly newest: { readonly to: Revision | null; readonly position: Position } | undefined
  /** The data of some state, where this node has it. */
  known: Known | undefined
  /** Resolves once it is followed, or cannot be for now. */
  readonly ready: Promise<void>
  /** This node has published. */
  published(to: Revision | null, position: Position): void
}

interface Entry extends Followed {
  position: Position | undefined
  newest: Followed['newest']
  ready: Promise<void>
  isOpening: boolean
  /** Of the attempt to follow that goes on or has failed. */
  startedAt: number
  attempts: number
  retryAt: number
  usedAt: number
  isGone: boolean
  stop: () => void
}

export interface FollowedOptions {
  everwire: Pick<Everwire, 'follow' | 'history'>
  clock: Clock
  maxChannels: number
  idleMs: number
  /** How long a poll waits for a channel that begins to be followed. */
  announceWaitMs: number
  /** Channels that must not be let go for being idle. */
  isNeeded(channel: string): boolean
  failed(channel: string, error: unknown): void
}

/** Follows the channels of resources, so that answers can say where they stand. */
export class FollowedChannels {
  readonly #options: FollowedOptions
  /** Used longest ago first. */
  readonly #entries = new Map<string, Entry>()
  #sweep: Cancel | undefined
  #closed = false

  constructor(options: FollowedOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#entries.size
  }

  /** What is known of a channel, from now on followed. */
  use(channel: string): Followed {
    const { clock, maxChannels } = this.#options
    const now = clock.now()
    let entry = this.#entries.get(channel)
    if (entry) this.#entries.delete(channel)
    else entry = newEntry(channel)
    this.#entries.set(channel, entry)
    entry.usedAt = now
    if (!entry.position && !entry.isOpening && now >= entry.retryAt && !this.#closed) this.#open(entry)
    if (this.#entries.size > maxChannels) this.#drop(this.#leastNeeded())
    this.#armSweep()
    return entry
  }

  /** Waits, as long as polls do, for a channel that is about to be followed. */
  async soon(channel: string): Promise<Followed> {
    const entry = this.use(channel) as Entry
    if (entry.position || !entry.isOpening) return entry
    const { clock, announceWaitMs } = this.#options
    const waitMs = entry.startedAt + announceWaitMs - clock.now()
    if (waitMs <= 0) return entry
    await new Promise<void>((resolve) => {
      const cancel = clock.after(waitMs, resolve)
      void entry.ready.then(() => {
        cancel()
        resolve()
      })
    })
    return entry
  }

  close(): void {
    this.#closed = true
    this.#sweep?.()
    for (const entry of [...this.#entries.values()]) this.#drop(entry)
  }

  #open(entry: Entry): void {
    const { everwire, clock, failed } = this.#options
    const { channel } = entry
    entry.isOpening = true
    entry.startedAt = clock.now()
    entry.stop()
    const opening = async () => {
      let start: Position | undefined
      const stop = await everwire.follow(channel, {
        start: (position) => (start = position),
        publication: (publication) => heard(entry, publication),
        gap: (_reason, position) => {
          entry.newest = undefined
          entry.known = undefined
          entry.position = position
        },
      })
      if (entry.isGone) return stop()
      entry.stop = stop
      const { publications } = await everwire.history(channel, { limit: 1 })
      const newest = publications.at(-1)
      if (newest) heard(entry, newest)
      if (!entry.position && start) entry.position = start
      else if (start && isAfter(start, entry.position!)) entry.position = start
      entry.attempts = 0
    }
    entry.ready = opening()
      .catch((error: unknown) => {
        entry.stop()
        entry.stop = () => {}
        entry.position = undefined
        entry.retryAt = clock.now() + 100 + backoff(entry.attempts++)
        if (!entry.isGone) failed(channel, error)
      })
      .finally(() => (entry.isOpening = false))
  }

  #leastNeeded(): Entry {
    for (const entry of this.#entries.values()) if (!this.#options.isNeeded(entry.channel)) return entry
    return this.#entries.values().next().value!
  }

  #drop(entry: Entry): void {
    entry.isGone = true
    this.#entries.delete(entry.channel)
    entry.stop()
  }

  #armSweep(): void {
    const { clock, idleMs, isNeeded } = this.#options
    if (this.#sweep || this.#entries.size === 0 || this.#closed) return
    this.#sweep = clock.after(idleMs / 2, () => {
      this.#sweep = undefined
      const now = clock.now()
      for (const entry of [...this.#entries.values()])
        if (now - entry.usedAt >= idleMs && !isNeeded(entry.channel)) this.#drop(entry)
      this.#armSweep()
    })
  }
}

function newEntry(channel: string): Entry {
  const entry: Entry = {
    channel,
    position: undefined,
    newest: undefined,
    known: undefined,
    ready: Promise.resolve(),
    isOpening: false,
    startedAt: 0,
    attempts: 0,
    retryAt: -Infinity,
    usedAt: 0,
    isGone: false,
    stop: () => {},
    published: (to, position) => advance(entry, to, position),
  }
  return entry
}

/** Positions of one epoch are in order; one of another epoch is newer, as it was heard later. */
const isAfter = (one: Position, other: Position): boolean =>
  one.epoch !== other.epoch || one.offset > other.offset

function advance(entry: Entry, to: Revision | null, position: Position): boolean {
  if (entry.newest && !isAfter(position, entry.newest.position)) return false
  entry.newest = { to, position }
  if (!entry.position || isAfter(position, entry.position)) entry.position = position
  return true
}

/** Not one that copies: it doubles what it is given, as often as it says. The bridge makes none. */
const isPlain = (patch: unknown): patch is Changes['patch']['patch'] =>
  Array.isArray(patch) && patch.every((operation: { op?: unknown } | null) => operation?.op !== 'copy')

const events = ['snapshot', 'patch', 'invalidate']

function heard(entry: Entry, { event, data, position }: FollowedPublication): void {
  if (!position) return
  const change = (events.includes(event) && typeof data === 'object' && data) || {}
  const { to, from, patch } = change as Partial<Changes['patch']>
  if (!advance(entry, isRevision(to) ? to : null, position)) return
  if (!entry.known || entry.known.revision === to) return
  if (event === 'snapshot' && isRevision(to))
    entry.known = { revision: to, data: (change as Changes['snapshot']).data }
  else if (event === 'patch' && isRevision(to) && entry.known.revision === from && isPlain(patch))
    try {
      entry.known = { revision: to, data: applyPatch(entry.known.data, patch) }
    } catch {
      // Somebody else's: what this node publishes next is a snapshot.
    }
}
