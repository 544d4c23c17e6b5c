import { encodeFrame, type EncodedFrame } from './frame.js'

export interface OutboxLimits {
  /** Most frames kept. */
  frames: number
  /** Most bytes kept. */
  bytes: number
}

/**
 * What many outboxes may keep together, in bytes; a frame that stands in several counts once. `exceeded` is told when
 * one more frame goes beyond, and should end sessions until it does not.
 */
export class OutboxBudget {
  readonly #limitBytes: number
  readonly #exceeded: () => void
  #bytes = 0

  constructor(limitBytes: number, exceeded: () => void) {
    this.#limitBytes = limitBytes
    this.#exceeded = exceeded
  }

  get bytes(): number {
    return this.#bytes
  }
  get isExceeded(): boolean {
    return this.#bytes > this.#limitBytes
  }

  add(frame: EncodedFrame): void {
    if (frame.outboxes++ > 0) return
    this.#bytes += frame.bytes
    if (this.isExceeded) this.#exceeded()
  }
  remove(frame: EncodedFrame): void {
    if (--frame.outboxes === 0) this.#bytes -= frame.bytes
  }
}

const voidFrame = encodeFrame(['void', 1])

/**
 * The frames of one direction, numbered from 1 as they enter, kept until the other end has confirmed them. A number
 * never changes its meaning: what must not be sent any more becomes a `void` of the same number.
 */
export class Outbox {
  readonly #limits: OutboxLimits
  readonly #budget: OutboxBudget | undefined
  // A queue over an array: frames before #head are gone and leave when they are the larger half.
  #frames: EncodedFrame[] = []
  #head = 0
  #bytes = 0
  #base = 1
  #acked = 0

  constructor(limits: OutboxLimits, budget?: OutboxBudget) {
    this.#limits = limits
    this.#budget = budget
  }

  /** Goes on from where another outbox was left; only while this one is new. */
  restore({
    base,
    acked,
    frames,
  }: Readonly<{ base: number; acked: number; frames: readonly EncodedFrame[] }>) {
    this.#base = base
    this.#acked = acked
    for (const frame of frames) this.push(frame)
  }

  /** Number of the oldest frame kept; `sent + 1` when there is none. */
  get base(): number {
    return this.#base
  }
  /** Number of the newest frame. */
  get sent(): number {
    return this.#base + this.length - 1
  }
  /** Highest number that the other end has confirmed; never falls. */
  get acked(): number {
    return this.#acked
  }
  get length(): number {
    return this.#frames.length - this.#head
  }
  get bytes(): number {
    return this.#bytes
  }

  /** Whether one more frame of this size keeps the limits. A single frame always fits an empty outbox. */
  fits(bytes: number): boolean {
    return (
      this.length === 0 || (this.length < this.#limits.frames && this.#bytes + bytes <= this.#limits.bytes)
    )
  }

  /** @returns the frame's number */
  push(frame: EncodedFrame): number {
    this.#frames.push(frame)
    this.#bytes += frame.bytes
    const number = this.sent
    // Last, because it may end sessions, this one too.
    this.#budget?.add(frame)
    return number
  }

  /** The other end has everything up to `number`: forgets it. */
  acknowledge(number: number): void {
    if (number > this.sent) throw new RangeError(`frame ${number} was never sent, the newest is ${this.sent}`)
    if (number <= this.#acked) return
    this.#acked = number
    while (this.#base <= number) this.#drop()
  }

  /** Gives up the oldest frame, for room: what it was can no longer be replayed. */
  evict(): void {
    if (this.length > 0) this.#drop()
  }

  /** Up to `maxFrames` frames from `number` on, until `maxBytes` are together; at least one if there is one. */
  slice(number: number, maxFrames: number, maxBytes: number): EncodedFrame[] {
    const frames: EncodedFrame[] = []
    let bytes = 0
    for (let n = number; n <= this.sent && frames.length < maxFrames; n++) {
      const frame = this.#frames[this.#head + n - this.#base]!
      if (frames.length > 0 && bytes + frame.bytes > maxBytes) break
      frames.push(frame)
      bytes += frame.bytes
    }
    return frames
  }

  /** Replaces one frame by a `void`; false when it is kept no more. */
  erase(number: number): boolean {
    if (number < this.#base || number > this.sent) return false
    const index = this.#head + number - this.#base
    this.#release(index)
    this.#bytes += voidFrame.bytes
    return true
  }

  /** Replaces every frame for which `where` holds by a `void`. */
  eraseWhere(where: (frame: EncodedFrame) => boolean): void {
    for (let number = this.#base; number <= this.sent; number++)
      if (where(this.#frames[this.#head + number - this.#base]!)) this.erase(number)
  }

  /** Forgets everything. */
  clear(): void {
    while (this.length > 0) this.#drop()
  }

  #release(index: number): void {
    const frame = this.#frames[index]!
    this.#bytes -= frame.bytes
    this.#frames[index] = voidFrame
    if (frame !== voidFrame) this.#budget?.remove(frame)
  }

  #drop(): void {
    this.#release(this.#head)
    this.#head++
    this.#base++
    if (this.#head > 64 && this.#head * 2 > this.#frames.length) {
      this.#frames = this.#frames.slice(this.#head)
      this.#head = 0
    }
  }
}
