import {
  encodeData,
  encodeFrame,
  decodeData,
  EverwireError,
  fromBase64,
  type EncodedFrame,
  type ErrorCode,
  type Frame,
  type GapReason,
  type Position,
} from '@everwire/core'
import { Emitter, type Off } from './emitter.js'
import { publicationFrames, type Done, type RunOptions } from './operations.js'

/** What stands beside a publication. */
export interface PublicationMeta {
  channel: string
  event: string
  /** Channels with history only. */
  position?: Position
  /** Who published, where the channel shows it. */
  userId?: string
}

export interface Gap {
  reason: GapReason
  /** Where the channel goes on; channels with history only. */
  position?: Position
}

export interface PublishOptions {
  /** Recognises a repeated publication, for two minutes, across sessions and reloads. @default a random one */
  id?: string
  /** How long it may wait and be retried. @default 30000 */
  timeoutMs?: number
}

export interface HistoryPage {
  publications: { data: unknown; meta: PublicationMeta }[]
  /** There are older ones. */
  more: boolean
}

/** What a channel needs of its client. */
export interface ChannelHost {
  readonly publishTimeoutMs: number
  /** There is a session to ask. */
  readonly ready: boolean
  /** Opens the connection if it is not. */
  wake(): void
  run(frame: EncodedFrame, options: RunOptions): Promise<Frame>
  start(frame: EncodedFrame, options: RunOptions, done: Done): void
  request(method: string, input: unknown): Promise<unknown>
  nextId(): string
  after(ms: number, run: () => void): void
}

type Listener = (data: unknown, meta: PublicationMeta) => void

type ChannelEvents = {
  gap: (gap: Gap) => void
  /** The server took the subscription back. */
  unsubscribed: (info: { code: ErrorCode }) => void
}

/** How long a subscription that failed for a passing reason waits. */
const retrySubscribeMs = 1_000
/** Publisher runs remembered over sessions; a run is one life of one node. */
const maxRuns = 256

/** A named stream of publications. Asked for the same name, the client gives the same object. */
export class Channel {
  readonly name: string
  readonly #host: ChannelHost
  readonly #events = new Emitter<ChannelEvents>()
  readonly #listeners = new Emitter<Record<string, Listener>>()
  readonly #any = new Emitter<{ any: Listener }>()
  #wanted = false
  #subscribed = false
  /** It was subscribed in an earlier session, whose live publications are lost. */
  #interrupted = false
  #position: Position | undefined
  #runs = new Map<string, number>()
  /** Of the runs in earlier sessions: what a node was late with must not come twice. */
  #earlier = new Map<string, number>()
  /** Told apart by identity: the answer of an attempt that was overtaken means nothing. */
  #attempt: object | undefined
  #waiting: { resolve(): void; reject(error: unknown): void }[] = []

  constructor(name: string, host: ChannelHost) {
    this.name = name
    this.#host = host
  }

  get subscribed(): boolean {
    return this.#subscribed
  }
  /** Where the channel stands; channels with history only, once subscribed. */
  get position(): Position | undefined {
    return this.#position
  }

  /** Hears an event of the channel, every one (`*`), a `gap`, or `unsubscribed`. Returns its own undo. */
  on<Name extends keyof ChannelEvents>(event: Name, listener: ChannelEvents[Name]): Off
  on(event: string, listener: Listener): Off
  on(event: string, listener: (...args: never[]) => void): Off {
    if (event === 'gap' || event === 'unsubscribed')
      return this.#events.on(event, listener as ChannelEvents['gap'])
    if (event === '*') return this.#any.on('any', listener as Listener)
    return this.#listeners.on(event, listener as Listener)
  }

  /**
   * Reads the channel from now on, or after a position kept from earlier, and goes on reading it, over reconnects and
   * new sessions, until `unsubscribe`. Resolves when the server has accepted; rejects with its refusal.
   */
  subscribe({ position }: { position?: Position } = {}): Promise<void> {
    if (this.#subscribed) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#host.wake()
      if (this.#wanted) return
      this.#wanted = true
      this.#position = position
      this.#ask()
    })
  }

  /** Reads the channel no more. Resolves when the server knows. */
  async unsubscribe(): Promise<void> {
    if (!this.#wanted) return
    this.#stop(new EverwireError('closed', `unsubscribed from ${this.name}`))
    if (!this.#host.ready) return
    const options = { timeoutMs: this.#host.publishTimeoutMs, perSession: true }
    await this.#host.run(encodeFrame(['unsub', this.name]), options).catch((error: EverwireError) => {
      // With its session the subscription is gone too.
      if (error.code !== 'outcome-unknown') throw error
    })
  }

  /**
   * Publishes. Resolves when the server has accepted, with the position in channels with history; a retry is stored
   * once. Rejects with an EverwireError: the server's refusal, `queue-full`, `timeout` when it was never sent, or
   * `outcome-unknown` when it may have happened.
   */
  async publish(
    event: string,
    data?: unknown,
    { id = this.#host.nextId(), timeoutMs = this.#host.publishTimeoutMs }: PublishOptions = {},
  ): Promise<Partial<Position>> {
    const { first, again } = publicationFrames(this.name, event, id, encodeData(data))
    this.#host.wake()
    return positionOf(await this.#host.run(first, { again, timeoutMs }), 2) ?? {}
  }

  /** Publications before a position's offset (default: the newest), oldest first. */
  async history({ before, limit }: { before?: number; limit?: number } = {}): Promise<HistoryPage> {
    const page = (await this.#host.request('everwire:history', { channel: this.name, before, limit })) as {
      epoch: string
      more: boolean
      publications: { offset: number; event: string; userId?: string; data?: unknown; binary?: string }[]
    }
    const publications = page.publications.map(({ offset, event, userId, data, binary }) => ({
      data: binary === undefined ? data : fromBase64(binary),
      meta: {
        channel: this.name,
        event,
        position: { epoch: page.epoch, offset },
        ...(userId === undefined ? {} : { userId }),
      },
    }))
    return { publications, more: page.more }
  }

  /** @internal A new session began. */
  begin(): void {
    if (this.#wanted) this.#ask()
  }

  /** @internal The session is lost. */
  lost(): void {
    this.#interrupted ||= this.#subscribed
    this.#subscribed = false
    this.#attempt = undefined
    this.#interrupt()
  }

  /** @internal The client is closed. */
  close(error: EverwireError): void {
    this.#stop(error)
  }

  /** @internal A frame of this channel came. */
  receive(frame: Frame): void {
    if (!this.#subscribed) return
    const [kind, , field] = frame.header
    if (kind === 'm') this.#publication(frame)
    else if (kind === 'gap') this.#gap(field as GapReason, positionOf(frame, 3))
    else if (kind === 'unsub') this.#revoked(field as ErrorCode | undefined)
  }

  #ask(): void {
    if (!this.#host.ready) return
    const attempt = {}
    this.#attempt = attempt
    const from = this.#position ? [this.#position.epoch, this.#position.offset] : []
    // A subscription is wanted until it is refused: it has no time limit, and a new session asks anew. Its answer is
    // heard at once: the frames that follow it are of the subscription already.
    const options = { timeoutMs: 2 ** 31 - 1, perSession: true }
    this.#host.start(encodeFrame(['sub', this.name, ...from]), options, (error, answer) => {
      if (this.#attempt !== attempt) return
      if (error) this.#refused(error)
      else this.#accepted(positionOf(answer!, 2))
    })
  }

  #accepted(position: Position | undefined): void {
    this.#subscribed = true
    const live = !position
    if (position) this.#position = position
    if (this.#interrupted && live) this.#gap('session', undefined)
    this.#interrupted = false
    const waiting = this.#waiting
    this.#waiting = []
    for (const { resolve } of waiting) resolve()
  }

  #refused(error: EverwireError): void {
    if (error.code === 'outcome-unknown') {
      // Lost with its session: the next one asks again. But a server may say so too.
      if (this.#host.ready) this.#retry()
      return
    }
    if (error.code === 'temporary') return this.#retry(error.retryAfterMs)
    const heard = this.#waiting.length > 0
    this.#stop(error)
    if (!heard) this.#events.emit('unsubscribed', { code: error.code })
  }

  /** Asks again later, unless the channel was asked for, or given up, meanwhile. */
  #retry(afterMs = retrySubscribeMs): void {
    const attempt = this.#attempt
    this.#host.after(afterMs, () => {
      if (this.#attempt === attempt && !this.#subscribed) this.begin()
    })
  }

  #revoked(code: ErrorCode = 'forbidden'): void {
    this.#subscribed = false
    if (code === 'temporary') {
      this.#interrupted = true
      this.#interrupt()
      this.#retry()
      return
    }
    this.#stop(new EverwireError(code))
    this.#events.emit('unsubscribed', { code })
  }

  #stop(error: EverwireError): void {
    this.#wanted = false
    this.#subscribed = false
    this.#interrupted = false
    this.#attempt = undefined
    this.#position = undefined
    this.#runs.clear()
    this.#earlier.clear()
    const waiting = this.#waiting
    this.#waiting = []
    for (const { reject } of waiting) reject(error)
  }

  /** The chains of the runs end here: what comes next is told by a gap, not by them. */
  #interrupt(): void {
    for (const [run, number] of this.#runs) {
      this.#earlier.delete(run)
      this.#earlier.set(run, number)
    }
    while (this.#earlier.size > maxRuns) this.#earlier.delete(this.#earlier.keys().next().value!)
    this.#runs.clear()
  }

  #publication(frame: Frame): void {
    const [, , event, ...rest] = frame.header
    const live = typeof rest[0] === 'string'
    const [number, previous, extra] = (live ? rest.slice(1) : rest) as [number, number, { userId?: string }?]
    const last = live ? this.#runs.get(rest[0] as string) : this.#position?.offset
    if (last !== undefined && number <= last) return
    if (live && number <= (this.#earlier.get(rest[0] as string) ?? 0)) return
    // The chain is checked end to end: whatever broke it on the way, the loss is found here.
    if (last !== undefined && previous !== last) {
      if (!live) return this.#broken()
      this.#gap('bus', undefined)
    }
    if (live) this.#runs.set(rest[0] as string, number)
    else this.#position = { epoch: this.#position!.epoch, offset: number }
    // A publication that is not for this session moves the position only.
    if (typeof event !== 'string') return
    const meta: PublicationMeta = { channel: this.name, event }
    if (!live) meta.position = this.#position!
    if (extra?.userId !== undefined) meta.userId = extra.userId
    let data: unknown
    try {
      data = decodeData(frame)
    } catch {
      // What another publisher put on the bus is not JSON: it is shown as it came.
      data = frame.data
    }
    this.#listeners.emit(event, data, meta)
    this.#any.emit('any', data, meta)
  }

  #gap(reason: GapReason, position: Position | undefined): void {
    if (position) this.#position = position
    this.#events.emit('gap', { reason, ...(position ? { position } : {}) })
  }

  /** Something between two publications did not come: asks again from the last that did. */
  #broken(): void {
    this.#subscribed = false
    this.begin()
  }
}

function positionOf({ header }: Frame, at: number): Position | undefined {
  const [epoch, offset] = [header[at], header[at + 1]]
  return typeof epoch === 'string' && typeof offset === 'number' ? { epoch, offset } : undefined
}
