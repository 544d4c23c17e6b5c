import type { ErrorCode } from './codes.js'
import { isSessionKind, frameCount, type EncodedFrame, type Frame } from './frame.js'
import * as defaults from './limits.js'
import { createOutbox, type Outbox, type OutboxKeeper } from './outbox.js'
import { SessionEnd, type Session, type SessionHandler, type SessionOptions } from './session.js'

export interface OwnerSessionOptions extends SessionOptions {
  /** What this outbox and others may keep together. @default no bound */
  budget?: OutboxKeeper | undefined
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

/**
 * The end of a session on the node that owns it. A full outbox gives up the oldest frames that were written, which can
 * then no longer be replayed, and ends the session as `slow-consumer` when all wait to be written.
 */
export interface OwnerSession extends Session {
  /** What is kept for replay. */
  readonly outbox: Outbox
  /** Frames that the link at hand, or before any link, has not taken yet. */
  unwritten(): number
  /**
   * Session frames that came outside a link, numbered by their sender. Frames beyond a hole are not taken.
   * @returns the cursor, which the sender must hear
   */
  apply(first: number, frames: readonly Frame[]): number
  /** Replaces frames that must not be sent any more by `void`, whether or not they were written before. */
  eraseWhere(where: (frame: EncodedFrame) => boolean): void
  /** Writes now what would be written at the end of this turn, as far as the link takes it. */
  flush(): void
  /**
   * Leaves this end to another process as it is in this turn. Here it has ended, and the other end is not told: the
   * link is the caller's to close.
   */
  handOver(): SessionState
}

class OwnerSessionEnd extends SessionEnd implements OwnerSession {
  protected override makeRoom(bytes: number): boolean {
    const { outbox } = this
    while (!outbox.fits(bytes)) {
      // What the link at hand has yet to bring must stay; without a link, what no link ever took.
      if (outbox.base > (this.link ? this.writtenHere : this.written)) {
        this.end('slow-consumer', `${outbox.sent - outbox.base + 1} frames wait to be written`)
        return false
      }
      outbox.drop(outbox.base)
    }
    return true
  }

  protected override finish(code: ErrorCode, reason: string): void {
    super.finish(code, reason)
    this.outbox.drop(this.outbox.sent)
  }

  unwritten(): number {
    return this.outbox.sent - this.writtenHere
  }

  apply(first: number, frames: readonly Frame[]): number {
    let number = first
    if (!this.ended) this.handler.heard?.()
    for (const frame of frames) {
      if (this.ended) break
      if (!isSessionKind(frame.header[0])) {
        this.control(frame)
        continue
      }
      if (number > this.received + 1) break
      this.accept(frame, number)
      number += frameCount(frame.header)
    }
    return this.received
  }

  eraseWhere(where: (frame: EncodedFrame) => boolean): void {
    const { base } = this.outbox
    this.outbox.slice(base).forEach((frame, index) => where(frame) && this.outbox.erase(base + index))
  }

  handOver(): SessionState {
    const { received, acked, written, outbox } = this
    const { base } = outbox
    const frames = outbox.slice(base)
    this.leave()
    outbox.drop(outbox.sent)
    return { received, acked, base, written, frames }
  }
}

/** @param state of this end where it was before, which has handed it over */
export function createOwnerSession(
  options: OwnerSessionOptions,
  handler: SessionHandler,
  state?: SessionState,
): OwnerSession {
  const { outboxFrames = defaults.outboxFrames, outboxBytes = defaults.outboxBytes, budget } = options
  const outbox = createOutbox({ frames: outboxFrames, bytes: outboxBytes }, state?.base, budget)
  for (const frame of state?.frames ?? []) outbox.push(frame)
  return new OwnerSessionEnd(options, handler, outbox, state)
}
