import { encodeFrame, type EncodedFrame } from './frame.js'

export interface OutboxLimits {
  /** Most frames kept. */
  frames: number
  /** Most bytes kept. */
  bytes: number
}

/** Hears of the frames that an outbox keeps. */
export interface OutboxKeeper {
  add(frame: EncodedFrame): void
  remove(frame: EncodedFrame): void
}

/**
 * The frames of one direction, numbered from 1 as they enter, kept until the other end has confirmed them. A number
 * never changes its meaning: what must not be sent any more becomes a `void` of the same number.
 */
export interface Outbox {
  /** Number of the oldest frame kept; `sent + 1` when there is none. */
  readonly base: number
  /** Number of the newest frame. */
  readonly sent: number
  readonly bytes: number
  /** Whether one more frame of this size keeps the limits. A single frame always fits an empty outbox. */
  fits(bytes: number): boolean
  /** @returns the frame's number */
  push(frame: EncodedFrame): number
  /** Forgets everything up to `number`. What was not confirmed can no longer be replayed. */
  drop(number: number): void
  /** Up to `maxFrames` frames from `number` on, until `maxBytes` are together; at least one if there is one. */
  slice(number: number, maxFrames?: number, maxBytes?: number): EncodedFrame[]
  /** Replaces one frame by a `void`; false when it is kept no more. */
  erase(number: number): boolean
}

const voidFrame = /* @__PURE__ */ encodeFrame(['void', 1])

class FrameOutbox implements Outbox {
  base: number
  sent: number
  bytes = 0
  readonly #frames: EncodedFrame[] = []
  readonly #limits: OutboxLimits
  readonly #keeper: OutboxKeeper | undefined

  constructor(limits: OutboxLimits, base: number, keeper: OutboxKeeper | undefined) {
    this.#limits = limits
    this.#keeper = keeper
    this.base = base
    this.sent = base - 1
  }

  fits(bytes: number): boolean {
    const { length } = this.#frames
    return !length || (length < this.#limits.frames && this.bytes + bytes <= this.#limits.bytes)
  }

  push(frame: EncodedFrame): number {
    this.#frames.push(frame)
    this.bytes += frame.bytes
    const number = ++this.sent
    // Last, because it may end sessions, this one too.
    this.#keeper?.add(frame)
    return number
  }

  drop(number: number): void {
    while (this.base <= number && this.#frames.length > 0) {
      this.base++
      this.#release(this.#frames.shift()!)
    }
  }

  slice(number: number, maxFrames = Infinity, maxBytes = Infinity): EncodedFrame[] {
    const frames = this.#frames
    const start = number - this.base
    let end = start
    for (let bytes = 0; end < frames.length && end - start < maxFrames; end++) {
      bytes += frames[end]!.bytes
      if (end > start && bytes > maxBytes) break
    }
    return frames.slice(start, end)
  }

  erase(number: number): boolean {
    const index = number - this.base
    const frame = this.#frames[index]
    if (!frame) return false
    this.#release(frame)
    this.#frames[index] = voidFrame
    this.bytes += voidFrame.bytes
    return true
  }

  #release(frame: EncodedFrame) {
    this.bytes -= frame.bytes
    if (frame !== voidFrame) this.#keeper?.remove(frame)
  }
}

export const createOutbox = (limits: OutboxLimits, base = 1, keeper?: OutboxKeeper): Outbox =>
  new FrameOutbox(limits, base, keeper)
