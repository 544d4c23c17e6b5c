import type { ErrorCode } from './codes.js'
import { EverwireError } from './errors.js'
import { encodeFrame, frameCount, isSessionKind, type EncodedFrame, type Frame } from './frame.js'
import type { Link } from './link.js'
import * as defaults from './limits.js'
import { createOutbox, type Outbox } from './outbox.js'

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

/**
 * A pair of counted, replayable frame queues over links that come and go: the same on both ends. Reliable and in
 * order in both directions as long as some link comes back; it knows nothing of channels, transports or time.
 */
export interface Session {
  /** The cursor: number of session frames received. Never falls. */
  readonly received: number
  /** Number of the newest frame given to `send`. */
  readonly sent: number
  /** Number of the newest frame that any link ever took. Never falls. */
  readonly written: number
  /** Highest own frame that the other end has confirmed. Never falls. */
  readonly acked: number
  readonly link: Link | undefined
  readonly ended: boolean
  /**
   * Numbers a frame and writes it when the link allows.
   * @returns its number
   * @throws EverwireError `queue-full` when the outbox is full, unless this end makes room
   */
  send(frame: EncodedFrame): number
  /** Takes a frame back that was never written. @returns false when it was written, and may have arrived */
  withdraw(number: number): boolean
  /** Goes on over `link`, from these numbers; an earlier link is left alone, and no longer listened to. */
  bind(link: Link, numbers: LinkNumbers): void
  /** The link at hand is made of several requests, and the next one starts at another number. */
  renumber(link: Link, receiveFrom: number): void
  /** The link is gone; frames wait for the next. Ignored when another is bound already. */
  unbind(link: Link): void
  /** The link takes frames again. */
  drained(link: Link): void
  /** A frame came on a link, numbered by its place there. Frames of links left behind are dropped. */
  receive(link: Link, frame: Frame): void
  /** The other end confirms everything up to `number`. */
  acknowledge(number: number): void
  /** Asks the other end for a sign of life, and lets it check the count. */
  ping(): void
  /** Ends the session on both sides: tells the other end, then closes the link. Safe to call twice. */
  end(code: ErrorCode, reason?: string): void
}

/** Where one end stands. */
export interface SessionNumbers {
  readonly received: number
  readonly written: number
  readonly acked: number
}

const maxCodeLength = 100
const batchFrames = 100
const batchBytes = 65_536

/** One end of a session, on either side: what an end does about a full outbox is its own affair. */
export class SessionEnd implements Session {
  received: number
  sent: number
  written: number
  /** Number of the newest frame that the link at hand took. */
  writtenHere = 0
  acked: number
  link: Link | undefined = undefined
  ended = false
  readonly outbox: Outbox
  protected readonly handler: SessionHandler
  readonly #options: SessionOptions
  #confirmed: number
  #unconfirmedBytes = 0
  /** Number of the next session frame on the link. */
  #next = 1
  #blocked = false
  #owesPong = false
  #scheduled = false

  constructor(
    options: SessionOptions,
    handler: SessionHandler,
    outbox: Outbox = createOutbox({
      frames: options.outboxFrames ?? defaults.outboxFrames,
      bytes: options.outboxBytes ?? defaults.outboxBytes,
    }),
    { received = 0, written = 0, acked = 0 }: Partial<SessionNumbers> = {},
  ) {
    this.#options = options
    this.handler = handler
    this.outbox = outbox
    this.sent = outbox.sent
    this.received = this.#confirmed = received
    this.written = written
    this.acked = acked
  }

  /** The outbox is too full for so many bytes more. @returns false when the session had to end */
  protected makeRoom(_bytes: number): boolean {
    throw new EverwireError('queue-full')
  }

  send(frame: EncodedFrame): number {
    const { outbox } = this
    if (this.ended) throw new EverwireError('closed')
    // What only waits for the end of this turn shows nothing about the other end.
    if (!outbox.fits(frame.bytes)) this.flush()
    if (!outbox.fits(frame.bytes) && !this.makeRoom(frame.bytes)) return outbox.sent
    this.sent = outbox.push(frame)
    if (!this.#scheduled && this.link && !this.#blocked) {
      this.#scheduled = true
      const { schedule = queueMicrotask } = this.#options
      schedule(() => this.flush())
    }
    return this.sent
  }

  withdraw(number: number): boolean {
    return number > this.written && this.outbox.erase(number)
  }

  bind(link: Link, { receiveFrom, sendFrom }: LinkNumbers): void {
    if (this.ended) return link.close('closed')
    this.link = link
    this.#next = receiveFrom
    this.writtenHere = sendFrom - 1
    this.#resume()
  }

  renumber(link: Link, receiveFrom: number): void {
    if (this.link === link) this.#next = receiveFrom
  }

  unbind(link: Link): void {
    if (this.link === link) this.link = undefined
  }

  drained(link: Link): void {
    if (this.link === link) this.#resume()
  }

  receive(link: Link, frame: Frame): void {
    if (this.ended || this.link !== link) return
    const { header } = frame
    this.handler.heard?.(header[0])
    const number = this.#next
    if (isSessionKind(header[0])) {
      this.#next += frameCount(header)
      return this.accept(frame, number)
    }
    // Everything written before a ping came before it: a different count is a fault that must not stay hidden.
    if (header[0] === 'ping' && header[1] !== number - 1) return this.#miscounted(number - 1, header[1])
    this.control(frame)
  }

  /** A session frame came with this number. */
  accept(frame: Frame, number: number): void {
    const last = number + frameCount(frame.header) - 1
    if (last <= this.received) return
    if (number > this.received + 1) return this.#miscounted(number, this.received + 1)
    this.received = last
    if (frame.header[0] !== 'void') this.handler.frame(frame, number)
    this.#unconfirmedBytes += frame.data?.length ?? 0
    const { ackFrames = defaults.outboxFrames / 4, ackBytes = defaults.outboxBytes / 4 } = this.#options
    if (this.received - this.#confirmed >= ackFrames || this.#unconfirmedBytes >= ackBytes)
      this.link?.send([this.#confirmation('seen')])
  }

  /** A link frame came. */
  control({ header: [kind, field, reason] }: Frame): void {
    if (kind === 'close')
      this.finish(
        // Whatever the other end calls it must not reach logs and close frames at any length.
        (field as string).length <= maxCodeLength ? (field as ErrorCode) : 'closed',
        (reason ?? '') as string,
      )
    if (kind === 'ping') this.#pong()
    if (kind === 'pong' || kind === 'seen') this.acknowledge(field as number)
  }

  acknowledge(number: number): void {
    if (this.ended || number <= this.acked) return
    if (number > this.written) return this.#miscounted(number, this.written)
    this.acked = number
    this.outbox.drop(number)
    this.handler.acknowledged?.(number)
  }

  ping(): void {
    this.flush()
    this.#say('ping', this.writtenHere)
  }

  /** Writes what waits for the end of this turn, as far as the link takes it. */
  flush(): void {
    const { outbox } = this
    this.#scheduled = false
    for (;;) {
      const { link } = this
      if (!link || this.#blocked || this.writtenHere >= outbox.sent) return
      // Confirmed over another way while this link was still to replay it: the numbers must be filled all the same.
      const known = Math.max(0, outbox.base - 1 - this.writtenHere)
      const frames =
        known > 0
          ? [encodeFrame(['void', known])]
          : outbox.slice(this.writtenHere + 1, batchFrames, batchBytes)
      this.writtenHere += known || frames.length
      this.written = Math.max(this.written, this.writtenHere)
      // With the batch: where each poll finds another one waiting, a pong after it would never get its turn.
      const more = this.#owesPong ? [this.#confirmation('pong')] : []
      this.#owesPong = false
      this.#put(link, [...frames, ...more])
    }
  }

  end(code: ErrorCode, reason = ''): void {
    if (this.ended) return
    this.#say('close', code, reason)
    this.finish(code, reason)
  }

  /** Has ended, and tells nobody. @returns the link at hand */
  leave(): Link | undefined {
    const { link } = this
    this.ended = true
    this.link = undefined
    return link
  }

  #say(...header: Frame['header']) {
    this.link?.send([encodeFrame(header)])
  }

  /** Nothing follows on a link that takes no more. It may close, and another be bound, while it is written to. */
  #put(link: Link, frames: EncodedFrame[]) {
    if (!link.send(frames) && this.link === link) this.#blocked = true
  }

  protected finish(code: ErrorCode, reason: string): void {
    try {
      this.leave()?.close(code, reason)
    } finally {
      this.handler.ended(code, reason)
    }
  }

  #miscounted(here: number, there: unknown) {
    this.end('numbering', `${here} where ${String(there)} was due`)
  }

  /** Confirms what was received. */
  #confirmation(kind: string) {
    this.#confirmed = this.received
    this.#unconfirmedBytes = 0
    return encodeFrame([kind, this.received])
  }

  #pong() {
    // Between two polls there is no link, and one that is blocked must not be filled by asking: it comes later.
    this.#owesPong = !this.link || this.#blocked
    if (!this.#owesPong) this.#put(this.link!, [this.#confirmation('pong')])
  }

  #resume() {
    this.#blocked = false
    this.flush()
    if (this.#owesPong) this.#pong()
  }
}

/** The client's end of a session; the server's is `createOwnerSession`. */
export const createSession = (options: SessionOptions, handler: SessionHandler): SessionEnd =>
  new SessionEnd(options, handler)
