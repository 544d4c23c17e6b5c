import {
  decode,
  randomBase32,
  type EncodedFrame,
  type Frame,
  type GapReason,
  type Position,
} from '@everwire/core'
import type { Reader } from '../channels/entry.js'
import type { Hub } from '../channels/hub.js'
import { liveToken, positionToken } from './position-token.js'
import { publicationJson } from '../channels/publication.js'

/** A publication as it goes to readers without a library. */
export interface ChannelMessage {
  /** Undefined in a channel that keeps nothing. */
  readonly offset: string | undefined
  readonly json: string
}

/** What a reader does with what it reads. */
export interface ChannelSink {
  /** What one turn brought, oldest first, perhaps nothing but a step of the position; `next` is where it stands then. */
  batch(messages: readonly ChannelMessage[], next: string, current: boolean): void
  gap(reason: GapReason, next: string): void
  removed(error: unknown): void
  /** Bytes that wait to be taken. */
  readonly waitingBytes: number
}

export interface ChannelReaderOptions {
  hub: Hub
  key: string
  userId: string | null
  sink: ChannelSink
  /** Takes more of what can wait while less than this waits, in bytes. */
  roomBytes: number
  schedule(flush: () => void): void
  messages: MessageCache
}

/** A frame of the hub, read once however many readers it goes to. */
interface ReadFrame {
  readonly header: Frame['header']
  /** Of the epoch that it was made in. */
  message?: { readonly epoch: string; readonly made: ChannelMessage }
}

/** Reads the frames of the hub, and makes the JSON of a publication once. */
export class MessageCache {
  readonly #known = new WeakMap<EncodedFrame, ReadFrame>()

  header(frame: EncodedFrame): Frame['header'] {
    return this.#read(frame).header
  }

  message(frame: EncodedFrame, epoch: string): ChannelMessage {
    const read = this.#read(frame)
    if (read.message?.epoch !== epoch) read.message = { epoch, made: messageOf(frame, read.header, epoch) }
    return read.message.made
  }

  #read(frame: EncodedFrame): ReadFrame {
    let read = this.#known.get(frame)
    if (!read) this.#known.set(frame, (read = { header: decode(frame).header }))
    return read
  }
}

function messageOf(
  frame: EncodedFrame,
  [, , event, place, ...rest]: Frame['header'],
  epoch: string,
): ChannelMessage {
  const offset = typeof place === 'number' ? positionToken({ epoch, offset: place }) : undefined
  const extra = rest.find((field) => typeof field === 'object') as { userId?: string } | undefined
  const { data, binary } = frame
  return {
    offset,
    json: publicationJson({ event: event as string, data, binary, userId: extra?.userId }, offset),
  }
}

/** One reader of one channel that has no session: turns what the hub sends into messages, a turn at a time. */
export class ChannelReader implements Reader {
  readonly id = randomBase32(16)
  readonly userId: string | null
  readonly #options: ChannelReaderOptions
  #position: Position | undefined
  #gathered: ChannelMessage[] = []
  #gatheredBytes = 0
  #accepted = false
  /** Something is to be told at the end of the turn. */
  #isDirty = false
  #over = false
  #waiting: (() => void)[] = []

  constructor(options: ChannelReaderOptions) {
    this.#options = options
    this.userId = options.userId
  }

  /** Where it stands. */
  get token(): string {
    return this.#position ? positionToken(this.#position) : liveToken
  }

  /** Resolves once nothing can be missed; the sink has heard nothing by then. */
  async start(from: Position | undefined, accepted: () => void): Promise<void> {
    const { hub, key } = this.#options
    await hub.subscribe(this, key, from, (start) => {
      this.#position = start
      this.#accepted = true
      accepted()
      this.#flushSoon()
    })
    if (this.#over) hub.unsubscribe(this, key)
  }

  stop(): void {
    if (this.#over) return
    this.#over = true
    this.#options.hub.unsubscribe(this, this.#options.key)
    this.drained()
  }

  send(frame: EncodedFrame): void {
    // Before it is accepted nothing concerns it: it then hears where it starts.
    if (this.#over || !this.#accepted) return
    const { messages } = this.#options
    const header = messages.header(frame)
    if (header[0] === 'gap') return this.#gap(header)
    const [, , event, place] = header
    if (event !== null) {
      const message = messages.message(frame, this.#position?.epoch ?? '')
      this.#gathered.push(message)
      this.#gatheredBytes += message.json.length
    }
    if (this.#position && typeof place === 'number')
      this.#position = { epoch: this.#position.epoch, offset: place }
    this.#flushSoon()
  }

  async room(): Promise<void> {
    while (!this.#over && this.#gatheredBytes + this.#options.sink.waitingBytes > this.#options.roomBytes)
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  removed(_key: string, _channel: string, error: unknown): void {
    if (!this.#over) this.#options.sink.removed(error)
  }

  /** The sink takes more. */
  drained(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  /** Tells at once what the end of the turn would. */
  flush(): void {
    if (this.#over || !this.#isDirty) return
    this.#isDirty = false
    const { hub, key, sink } = this.#options
    const gathered = this.#gathered
    this.#gathered = []
    this.#gatheredBytes = 0
    sink.batch(gathered, this.token, hub.isCurrent(this, key))
    this.drained()
  }

  #gap(header: readonly unknown[]): void {
    const [, , reason, epoch, offset] = header as [string, string, GapReason, string?, number?]
    this.flush()
    if (epoch !== undefined && offset !== undefined) this.#position = { epoch, offset }
    if (!this.#over) this.#options.sink.gap(reason, this.token)
  }

  #flushSoon(): void {
    if (this.#isDirty) return
    this.#isDirty = true
    this.#options.schedule(() => this.flush())
  }
}
