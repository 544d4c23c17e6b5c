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

export function createOutbox(limits: OutboxLimits, base = 1, keeper?: OutboxKeeper): Outbox {
  const frames: EncodedFrame[] = []
  const release = (frame: EncodedFrame) => {
    outbox.bytes -= frame.bytes
    if (frame !== voidFrame) keeper?.remove(frame)
  }
  // Not closed over: a node has many of these, and objects of one shape are small and quick, accessors of each are not.
  const outbox = {
    base,
    sent: base - 1,
    bytes: 0,
    fits: (bytes: number) =>
      frames.length === 0 || (frames.length < limits.frames && outbox.bytes + bytes <= limits.bytes),
    push(frame: EncodedFrame) {
      frames.push(frame)
      outbox.bytes += frame.bytes
      const number = ++outbox.sent
      // Last, because it may end sessions, this one too.
      keeper?.add(frame)
      return number
    },
    drop(number: number) {
      while (outbox.base <= number && frames.length > 0) {
        outbox.base++
        release(frames.shift()!)
      }
    },
    slice(number: number, maxFrames = Infinity, maxBytes = Infinity) {
      const start = number - outbox.base
      let end = start
      for (let bytes = 0; end < frames.length && end - start < maxFrames; end++) {
        bytes += frames[end]!.bytes
        if (end > start && bytes > maxBytes) break
      }
      return frames.slice(start, end)
    },
    erase(number: number) {
      const index = number - outbox.base
      const frame = frames[index]
      if (!frame) return false
      release(frame)
      frames[index] = voidFrame
      outbox.bytes += voidFrame.bytes
      return true
    },
  }
  return outbox
}
