import { backoff, codeOf, EverwireError, type Cancel, type Clock, type ErrorCode } from '@everwire/core'
import type { Everwire } from '@everwire/server'
import type { Revision } from '../announcement.js'
import type { PatchOperation } from '../change.js'
import type { Followed, FollowedChannels } from './followed.js'
import { bounded, changeTo, knownOf, type Change, type SizeLimits } from './publications.js'
import type { Resources } from './resources.js'
import { digest } from './revision.js'

export interface PublisherOptions {
  everwire: Pick<Everwire, 'publish'>
  clock: Clock
  channels: FollowedChannels
  resources: Resources
  limits: SizeLimits
  /** Channels with publications on their way. */
  maxChannels: number
  published(event: Change['event']): void
  read(result: 'changed' | 'same' | 'failed'): void
  failed(what: 'read' | 'publish', channel: string, error: unknown): void
}

/** Calls of `changed` that one read serves. */
interface Batch {
  readonly served: Promise<void>
  serve(): void
}

interface Lane {
  tail: Promise<unknown>
  jobs: number
  /** Those whose read has not begun. */
  waiting: Batch | undefined
  isWorking: boolean
}

/** Publications of one channel that may wait for each other. */
const maxJobs = 1_000
/** Channels whose changes may wait for one of those. */
const maxOverflow = 100_000
/** What may go well another time. */
const passing: readonly ErrorCode[] = [
  'temporary',
  'outcome-unknown',
  'timeout',
  'node-unavailable',
  'too-many-operations',
]

/** Publishes the changes of resources: one after the other in each channel, so that each says which state it follows. */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #lanes = new Map<string, Lane>()
  readonly #pauses = new Set<() => void>()
  /** Calls of `changed` of channels for which there is no lane now, by channel, the oldest first. */
  readonly #overflow = new Map<string, Batch>()
  #closed = false

  constructor(options: PublisherOptions) {
    this.#options = options
  }

  /** Never rejects; while the bus is away it is tried again. */
  async changed(channel: string): Promise<void> {
    if (this.#closed) return
    try {
      if (!this.#lanes.has(channel) && this.#lanes.size >= this.#options.maxChannels)
        return await this.#later(channel)
      const lane = this.#lane(channel)
      lane.waiting ??= newBatch()
      const { served } = lane.waiting
      if (!lane.isWorking) void this.#work(channel, lane)
      await served
    } catch (error) {
      this.#options.failed('publish', channel, error)
    }
  }

  /** Reads once, and publishes what became of it. Rejects with what the source or the bus says. */
  async refresh(channel: string): Promise<void> {
    await this.#inLane(channel, () => this.#update(channel, false))
  }

  async snapshot(channel: string, data: unknown, revision: Revision | undefined): Promise<void> {
    const text = JSON.stringify(data) as string | undefined
    if (text === undefined) throw new TypeError('pollingBridge: snapshot: data must be a JSON value')
    await this.#inLane(channel, async () => {
      const named = revision ?? this.#options.resources.find(channel)?.route.revisionOf(text) ?? digest(text)
      const followed = await this.#follow(channel)
      const content = { text, revision: named }
      await this.#publish(followed, changeTo(content, knownOf(content), followed, this.#options.limits))
    })
  }

  async patch(channel: string, patch: PatchOperation[], from: Revision, to: Revision): Promise<void> {
    await this.#inLane(channel, async () => {
      const change: Change = { event: 'patch', data: { from, to, patch } }
      await this.#publish(await this.#follow(channel), bounded(change, this.#options.limits))
    })
  }

  async invalidate(channel: string): Promise<void> {
    await this.#inLane(channel, async () => {
      await this.#publish(await this.#follow(channel), { event: 'invalidate', data: { to: null } })
    })
  }

  close(): void {
    this.#closed = true
    for (const end of [...this.#pauses]) end()
    for (const { waiting } of this.#lanes.values()) waiting?.serve()
    for (const batch of this.#overflow.values()) batch.serve()
    this.#overflow.clear()
  }

  /** When another channel's publications are out. */
  async #later(channel: string): Promise<void> {
    let batch = this.#overflow.get(channel)
    if (!batch && this.#overflow.size >= maxOverflow)
      throw new EverwireError('too-many-operations', `changes of ${maxOverflow} channels wait for the bus`)
    if (!batch) this.#overflow.set(channel, (batch = newBatch()))
    await batch.served
  }

  /** Serves all calls of `changed` of a channel, as long as there are any. */
  async #work(channel: string, lane: Lane): Promise<void> {
    lane.isWorking = true
    let attempt = 0
    while (lane.waiting && !this.#closed) {
      let batch: Batch | undefined
      try {
        await this.#queue(channel, lane, async () => {
          // Whoever calls from now on may have written what this read does not see.
          batch = lane.waiting
          lane.waiting = undefined
          await this.#update(channel, true)
        })
        attempt = 0
        batch?.serve()
      } catch (error) {
        this.#options.failed('publish', channel, error)
        if (!passing.includes(codeOf(error))) batch?.serve()
        else {
          // The read after the pause serves these, and who calls until then.
          if (batch && lane.waiting) void lane.waiting.served.then(batch.serve)
          else lane.waiting ??= batch
          await this.#pause(backoff(attempt++))
        }
      }
    }
    lane.isWorking = false
    lane.waiting?.serve()
    this.#forget(channel, lane)
  }

  async #update(channel: string, tellsFailure: boolean): Promise<void> {
    const { resources, limits, read, failed } = this.#options
    const followed = await this.#follow(channel)
    const resource = resources.find(channel)
    // No node but one that was polled knows what to read: then clients do it.
    if (!resource) return await this.#publish(followed, { event: 'invalidate', data: { to: null } })
    let content
    try {
      content = await resources.read(channel, resource)
    } catch (error) {
      read('failed')
      if (!tellsFailure) throw error
      failed('read', channel, error)
      return await this.#publish(followed, { event: 'invalidate', data: { to: null } })
    }
    const isSame = followed.newest?.to === content.revision
    read(isSame ? 'same' : 'changed')
    if (isSame && followed.known?.revision === content.revision) return
    const state = knownOf(content)
    if (!isSame) await this.#publish(followed, changeTo(content, state, followed, limits))
    followed.known = Buffer.byteLength(content.text) <= limits.patchBytes ? state : undefined
  }

  async #publish(followed: Followed, { event, data }: Change): Promise<void> {
    const position = await this.#options.everwire.publish(followed.channel, event, data)
    if (position) followed.published(data.to, position)
    this.#options.published(event)
  }

  /** Which state was published last is known once the channel is followed; without that it is said to be unknown. */
  async #follow(channel: string): Promise<Followed> {
    const followed = this.#options.channels.use(channel)
    await followed.ready
    return followed
  }

  async #inLane(channel: string, job: () => Promise<void>): Promise<void> {
    await this.#queue(channel, this.#lane(channel), job)
  }

  #lane(channel: string): Lane {
    const known = this.#lanes.get(channel)
    if (known) return known
    if (this.#lanes.size >= this.#options.maxChannels)
      throw new EverwireError('too-many-operations', 'publications of too many channels wait for the bus')
    const lane: Lane = { tail: Promise.resolve(), jobs: 0, waiting: undefined, isWorking: false }
    this.#lanes.set(channel, lane)
    return lane
  }

  async #queue(channel: string, lane: Lane, job: () => Promise<void>): Promise<void> {
    if (lane.jobs >= maxJobs)
      throw new EverwireError('too-many-operations', `${maxJobs} publications of ${channel} wait`)
    lane.jobs++
    const done = lane.tail.then(job)
    lane.tail = done.catch(() => {})
    try {
      await done
    } finally {
      lane.jobs--
      this.#forget(channel, lane)
    }
  }

  #forget(channel: string, lane: Lane): void {
    if (lane.jobs > 0 || lane.isWorking || this.#lanes.get(channel) !== lane) return
    this.#lanes.delete(channel)
    const [next] = this.#overflow
    if (!next || this.#closed) return
    const [waiting, batch] = next
    this.#overflow.delete(waiting)
    void this.changed(waiting).then(batch.serve)
  }

  #pause(ms: number): Promise<void> {
    if (this.#closed) return Promise.resolve()
    return new Promise((resolve) => {
      const end = () => {
        cancel()
        this.#pauses.delete(end)
        resolve()
      }
      const cancel: Cancel = this.#options.clock.after(ms, end)
      this.#pauses.add(end)
    })
  }
}

function newBatch(): Batch {
  let serve!: () => void
  const served = new Promise<void>((resolve) => (serve = resolve))
  return { served, serve }
}
