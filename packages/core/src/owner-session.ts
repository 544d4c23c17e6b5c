import { isSessionKind, frameCount, type EncodedFrame, type Frame } from './frame.js'
import * as defaults from './limits.js'
import { createOutbox, type Outbox, type OutboxKeeper } from './outbox.js'
import { createSession, type Session, type SessionHandler, type SessionOptions } from './session.js'

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
  /**
   * Leaves this end to another process as it is in this turn. Here it has ended, and the other end is not told: the
   * link is the caller's to close.
   */
  handOver(): SessionState
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
  const { received, written, acked } = state ?? {}

  const makeRoom = (bytes: number) => {
    while (!outbox.fits(bytes)) {
      // What the link at hand has yet to bring must stay; without a link, what no link ever took.
      if (outbox.base > (session.link ? session.writtenHere : session.written)) {
        session.end('slow-consumer', `${outbox.sent - outbox.base + 1} frames wait to be written`)
        return false
      }
      outbox.drop(outbox.base)
    }
    return true
  }
  const ended: SessionHandler['ended'] = (code, reason) => {
    handler.ended(code, reason)
    outbox.drop(outbox.sent)
  }
  const session = createSession(
    options,
    { ...handler, ended },
    { outbox, makeRoom, received, written, acked },
  )

  return Object.assign(session, {
    outbox,
    unwritten: () => outbox.sent - session.writtenHere,
    apply(first: number, frames: readonly Frame[]) {
      let number = first
      if (!session.ended) handler.heard?.()
      for (const frame of frames) {
        if (session.ended) break
        if (!isSessionKind(frame.header[0])) {
          session.control(frame)
          continue
        }
        if (number > session.received + 1) break
        session.accept(frame, number)
        number += frameCount(frame.header)
      }
      return session.received
    },
    eraseWhere(where: (frame: EncodedFrame) => boolean) {
      const { base } = outbox
      outbox.slice(base).forEach((frame, index) => where(frame) && outbox.erase(base + index))
    },
    handOver(): SessionState {
      const { received, acked, written } = session
      const { base } = outbox
      const frames = outbox.slice(base)
      session.leave()
      outbox.drop(outbox.sent)
      return { received, acked, base, written, frames }
    },
  })
}
