import { EverwireError, type ErrorCode } from './errors.js'
import { encodeFrame, frameCount, isSessionKind, type EncodedFrame, type Frame } from './frame.js'
import type { Link } from './link.js'
import { defaults } from './limits.js'
import { Outbox, type OutboxBudget } from './outbox.js'

export interface SessionHandler {
  /** A session frame of the other end, with its number: each exactly once, in order. */
  frame(frame: Frame, number: number): void
  /** The other end has confirmed its receipt of everything up to `number`. */
  acknowledged?(number: number): void
  /** Anything came from the other end, numbered or not: it lives. */
  heard?(kind?: string): void
  /** The session can not go on. Called once; the link is closed already. */
  ended(code: ErrorCode, reason: string): void
}

export interface SessionOptions {
  /** Frames kept for replay. @default 1000 */
  outboxFrames?: number | undefined
  /** Bytes kept for replay. @default 1048576 */
  outboxBytes?: number | undefined
  /** Frames received after which they are confirmed. @default 250 */
  ackFrames?: number | undefined
  /** Payload received after which it is confirmed, in bytes or characters. @default 262144 */
  ackBytes?: number | undefined
  /** What this outbox and others may keep together. @default no bound */
  budget?: OutboxBudget | undefined
  /**
   * What happens when the outbox is full. `evict` gives up the oldest frames that were written, which can then no
   * longer be replayed, and ends the session as `slow-consumer` when all wait to be written. `refuse` throws
   * `queue-full`.
   */
  overflow: 'evict' | 'refuse'
  /** Calls back soon, once, to write what was sent meanwhile in one go. @default a microtask */
  schedule?: ((flush: () => void) => void) | undefined
}

/** Where a link's numbering starts, in both directions. */
export interface LinkNumbers {
  /** Number of the first session frame that this link will bring. */
  receiveFrom: number
  /** Number of the first session frame to write onto it. */
  sendFrom: number
}

/** What another process needs to go on with one end of a session. */
export interface SessionState {
  /** The cursor. */
  readonly received: number
  /** Highest own frame that the other end has confirmed. */
  readonly acked: number
  /** Number of the oldest frame kept. */
  readonly base: number
  /** Number of the newest frame that any link took. */
  readonly written: number
  /** From `base` on. */
  readonly frames: readonly EncodedFrame[]
}

const maxCodeLength = 100
const batchFrames = 100
const batchBytes = 65_536

/**
 * A pair of counted, replayable frame queues over links that come and go: the same class on both ends. Reliable and in
 * order in both directions as long as some link comes back; it knows nothing of channels, transports or time.
 */
export class Session {
  readonly #handler: SessionHandler
  readonly #outbox: Outbox
  readonly #overflow: 'evict' | 'refuse'
  readonly #ackFrames: number
  readonly #ackBytes: number
  readonly #schedule: (flush: () => void) => void
  readonly #flush = () => this.#write()

  #received = 0
  #confirmed = 0
  #unconfirmedBytes = 0
  #link: Link | undefined
  /** Number of the next session frame on the link. */
  #next = 1
  /** Number of the last frame written onto the link. */
  #written = 0
  /** Highest number ever written onto any link. */
  #everWritten = 0
  #blocked = false
  #owesPong = false
  #scheduled = false
  #ended = false

  /** @param state of this end where it was before, which has handed it over */
  constructor(options: SessionOptions, handler: SessionHandler, state?: SessionState) {
    this.#handler = handler
    this.#overflow = options.overflow
    this.#ackFrames = options.ackFrames ?? defaults.outboxFrames / 4
    this.#ackBytes = options.ackBytes ?? defaults.outboxBytes / 4
    // Not the function itself: browsers refuse to run it as a method of anything but the window.
    this.#schedule = options.schedule ?? ((flush) => queueMicrotask(flush))
    this.#outbox = new Outbox(
      {
        frames: options.outboxFrames ?? defaults.outboxFrames,
        bytes: options.outboxBytes ?? defaults.outboxBytes,
      },
      options.budget,
    )
    if (!state) return
    this.#received = this.#confirmed = state.received
    this.#everWritten = state.written
    this.#outbox.restore(state)
  }

  /** The cursor: number of session frames received. Never falls. */
  get received(): number {
    return this.#received
  }
  /** Number of the newest frame given to `send`. */
  get sent(): number {
    return this.#outbox.sent
  }
  /** Number of the newest frame that any link ever took. Never falls. */
  get written(): number {
    return this.#everWritten
  }
  /** Highest own frame that the other end has confirmed. Never falls. */
  get acked(): number {
    return this.#outbox.acked
  }
  /** Oldest own frame that can still be replayed. */
  get base(): number {
    return this.#outbox.base
  }
  /** Bytes kept for replay. */
  get outboxBytes(): number {
    return this.#outbox.bytes
  }
  /** Frames kept for replay. */
  get outboxFrames(): number {
    return this.#outbox.length
  }
  /** Frames that no link has taken yet. */
  get unwritten(): number {
    return this.#outbox.sent - this.#written
  }
  get link(): Link | undefined {
    return this.#link
  }
  get ended(): boolean {
    return this.#ended
  }

  /**
   * Numbers a frame and writes it when the link allows.
   * @returns its number
   * @throws EverwireError `queue-full` when the outbox is full and refuses
   */
  send(frame: EncodedFrame): number {
    if (this.#ended) throw new EverwireError('closed', 'the session has ended')
    // What only waits for the end of this turn shows nothing about the other end.
    if (!this.#outbox.fits(frame.bytes)) this.#write()
    while (!this.#outbox.fits(frame.bytes)) {
      if (this.#overflow === 'refuse') throw new EverwireError('queue-full', 'the outbox is full')
      // What the link at hand has yet to bring must stay; without a link, what no link ever took.
      if (this.#outbox.base > (this.#link ? this.#written : this.#everWritten)) {
        this.end('slow-consumer', `${this.#outbox.length} frames wait to be written`)
        return this.#outbox.sent
      }
      this.#outbox.evict()
    }
    const number = this.#outbox.push(frame)
    this.#wake()
    return number
  }

  /** Replaces frames that must not be sent any more by `void`, whether or not they were written before. */
  eraseWhere(where: (frame: EncodedFrame) => boolean): void {
    this.#outbox.eraseWhere(where)
  }

  /** Takes a frame back that was never written. @returns false when it was written, and may have arrived */
  withdraw(number: number): boolean {
    return number > this.#everWritten && this.#outbox.erase(number)
  }

  /** Goes on over `link`, from these numbers; an earlier link is left alone, and no longer listened to. */
  bind(link: Link, { receiveFrom, sendFrom }: LinkNumbers): void {
    if (this.#ended) return link.close('closed', 'the session has ended')
    this.#link = link
    this.#next = receiveFrom
    this.#written = sendFrom - 1
    this.#blocked = false
    this.#write()
    if (this.#owesPong) this.#pong()
  }

  /** The link at hand is made of several requests, and the next one starts at another number. */
  renumber(link: Link, receiveFrom: number): void {
    if (this.#link === link) this.#next = receiveFrom
  }

  /** The link is gone; frames wait for the next. Ignored when another is bound already. */
  unbind(link: Link): void {
    if (this.#link === link) this.#link = undefined
  }

  /** The link takes frames again. */
  drained(link: Link): void {
    if (this.#link !== link) return
    this.#blocked = false
    this.#write()
    if (this.#owesPong) this.#pong()
  }

  /** A frame came on a link, numbered by its place there. Frames of links left behind are dropped. */
  receive(link: Link, frame: Frame): void {
    if (this.#ended || this.#link !== link) return
    this.#handler.heard?.(frame.header[0])
    if (isSessionKind(frame.header[0])) {
      const number = this.#next
      this.#next += frameCount(frame.header)
      this.#accept(frame, number)
      return
    }
    if (frame.header[0] === 'ping') {
      const count = frame.header[1] as number
      // Everything written before the ping came before it: a different count is a fault that must not stay hidden.
      if (count !== this.#next - 1)
        return this.end('numbering', `the other end has sent ${count} frames, ${this.#next - 1} came`)
    }
    this.#control(frame)
  }

  /**
   * Session frames that came outside a link, numbered by their sender. Frames beyond a hole are not taken.
   * @returns the cursor, which the sender must hear
   */
  apply(first: number, frames: readonly Frame[]): number {
    let number = first
    if (!this.#ended) this.#handler.heard?.()
    for (const frame of frames) {
      if (this.#ended) break
      if (!isSessionKind(frame.header[0])) {
        this.#control(frame)
        continue
      }
      if (number > this.#received + 1) break
      this.#accept(frame, number)
      number += frameCount(frame.header)
    }
    return this.#received
  }

  /** The other end confirms everything up to `number`. */
  acknowledge(number: number): void {
    if (this.#ended || number <= this.#outbox.acked) return
    if (number > this.#everWritten)
      return this.end(
        'numbering',
        `the other end confirms frame ${number}, ${this.#everWritten} were written`,
      )
    this.#outbox.acknowledge(number)
    this.#handler.acknowledged?.(number)
  }

  /** Asks the other end for a sign of life, and lets it check the count. */
  ping(): void {
    this.#write()
    this.#link?.send([encodeFrame(['ping', this.#written])])
  }

  /** Ends the session on both sides: tells the other end, then closes the link. Safe to call twice. */
  end(code: ErrorCode, reason = ''): void {
    if (this.#ended) return
    this.#link?.send([encodeFrame(['close', code, reason])])
    this.#finish(code, reason)
  }

  /**
   * Leaves this end to another process as it is in this turn. Here it has ended, and the other end is not told: the
   * link is the caller's to close.
   */
  handOver(): SessionState {
    const { received, acked, base, written } = this
    const frames = this.#outbox.slice(base, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)
    this.#ended = true
    this.#link = undefined
    this.#outbox.clear()
    return { received, acked, base, written, frames }
  }

  #finish(code: ErrorCode, reason: string): void {
    this.#ended = true
    const link = this.#link
    this.#link = undefined
    try {
      link?.close(code, reason)
    } finally {
      this.#handler.ended(code, reason)
      this.#outbox.clear()
    }
  }

  #control({ header: [kind, field, reason] }: Frame): void {
    if (kind === 'close')
      this.#finish(
        // Whatever the other end calls it must not reach logs and close frames at any length.
        (field as string).length <= maxCodeLength ? (field as ErrorCode) : 'closed',
        (reason as string | null | undefined) ?? '',
      )
    if (kind === 'ping') this.#pong()
    if (kind === 'pong' || kind === 'seen') this.acknowledge(field as number)
  }

  #pong(): void {
    // Between two polls there is no link, and one that is blocked must not be filled by asking: it comes later.
    const link = this.#link
    this.#owesPong = !link || this.#blocked
    if (!link || this.#owesPong) return
    this.#confirm()
    if (!link.send([encodeFrame(['pong', this.#received])]) && this.#link === link) this.#blocked = true
  }

  #confirm(): void {
    this.#confirmed = this.#received
    this.#unconfirmedBytes = 0
  }

  #accept(frame: Frame, number: number): void {
    const last = number + frameCount(frame.header) - 1
    if (last <= this.#received) return
    if (number > this.#received + 1)
      return this.end('numbering', `frame ${number} came after frame ${this.#received}`)
    this.#received = last
    if (frame.header[0] !== 'void') this.#handler.frame(frame, number)
    this.#unconfirmedBytes += frame.data?.length ?? 0
    if (this.#received - this.#confirmed >= this.#ackFrames || this.#unconfirmedBytes >= this.#ackBytes) {
      this.#confirm()
      this.#link?.send([encodeFrame(['seen', this.#received])])
    }
  }

  #wake(): void {
    if (this.#scheduled || !this.#link || this.#blocked) return
    this.#scheduled = true
    this.#schedule(this.#flush)
  }

  #write(): void {
    this.#scheduled = false
    while (this.#link && !this.#blocked && this.#written < this.#outbox.sent) {
      // Confirmed over another way while this link was still to replay it: the numbers must be filled all the same.
      const known = Math.max(0, this.#outbox.base - 1 - this.#written)
      const frames =
        known > 0
          ? [encodeFrame(['void', known])]
          : this.#outbox.slice(this.#written + 1, batchFrames, batchBytes)
      this.#written += known || frames.length
      this.#everWritten = Math.max(this.#everWritten, this.#written)
      // A link may close, and another be bound, while it is written to.
      const link = this.#link
      if (!link.send(frames) && this.#link === link) this.#blocked = true
    }
  }
}
