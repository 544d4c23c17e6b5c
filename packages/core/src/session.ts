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

/** What the end that owns a session builds on; see owner-session.ts. */
export interface SessionBase extends Session {
  /** Number of the newest frame that the link at hand took. */
  readonly writtenHere: number
  /** A session frame came with this number. */
  accept(frame: Frame, number: number): void
  /** A link frame came. */
  control(frame: Frame): void
  /** Has ended, and tells nobody. @returns the link at hand */
  leave(): Link | undefined
}

/** Where one end stands at first, and how it makes room. */
export interface SessionGround {
  outbox?: Outbox
  received?: number | undefined
  written?: number | undefined
  acked?: number | undefined
  /** The outbox is too full for so many bytes more. @returns false when the session had to end */
  makeRoom?: (bytes: number) => boolean
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

const maxCodeLength = 100
const batchFrames = 100
const batchBytes = 65_536

const refuse = (): never => {
  throw new EverwireError('queue-full')
}

/** The client's end of a session; the server's is `createOwnerSession`. */
export function createSession(
  {
    outboxFrames = defaults.outboxFrames,
    outboxBytes = defaults.outboxBytes,
    ackFrames = defaults.outboxFrames / 4,
    ackBytes = defaults.outboxBytes / 4,
    schedule = queueMicrotask,
  }: SessionOptions,
  handler: SessionHandler,
  {
    outbox = createOutbox({ frames: outboxFrames, bytes: outboxBytes }),
    received = 0,
    written = 0,
    acked = 0,
    makeRoom = refuse,
  }: SessionGround = {},
): SessionBase {
  let confirmed = received
  let unconfirmedBytes = 0
  /** Number of the next session frame on the link. */
  let next = 1
  let blocked = false
  let owesPong = false
  let scheduled = false

  const say = (...header: Frame['header']) => session.link?.send([encodeFrame(header)])

  /** Nothing follows on a link that takes no more. It may close, and another be bound, while it is written to. */
  const put = (link: Link, frames: EncodedFrame[]) => {
    if (!link.send(frames) && session.link === link) blocked = true
  }

  const finish = (code: ErrorCode, reason: string) => {
    try {
      session.leave()?.close(code, reason)
    } finally {
      handler.ended(code, reason)
    }
  }

  /** Confirms what was received. */
  const confirmation = (kind: string) => {
    confirmed = session.received
    unconfirmedBytes = 0
    return encodeFrame([kind, confirmed])
  }

  const pong = () => {
    // Between two polls there is no link, and one that is blocked must not be filled by asking: it comes later.
    owesPong = !session.link || blocked
    if (!owesPong) put(session.link!, [confirmation('pong')])
  }

  const write = () => {
    scheduled = false
    for (;;) {
      const { link } = session
      if (!link || blocked || session.writtenHere >= outbox.sent) return
      // Confirmed over another way while this link was still to replay it: the numbers must be filled all the same.
      const known = Math.max(0, outbox.base - 1 - session.writtenHere)
      const frames =
        known > 0
          ? [encodeFrame(['void', known])]
          : outbox.slice(session.writtenHere + 1, batchFrames, batchBytes)
      session.writtenHere += known || frames.length
      session.written = Math.max(session.written, session.writtenHere)
      // With the batch: where each poll finds another one waiting, a pong after it would never get its turn.
      const more = owesPong ? [confirmation('pong')] : []
      owesPong = false
      put(link, [...frames, ...more])
    }
  }

  const resume = () => {
    blocked = false
    write()
    if (owesPong) pong()
  }

  // What all may read stands here as it is, not behind accessors: those would give each session a shape of its own.
  const session: Writable<SessionBase> = {
    received,
    sent: outbox.sent,
    written,
    writtenHere: 0,
    acked,
    link: undefined,
    ended: false,

    send(frame) {
      if (session.ended) throw new EverwireError('closed')
      // What only waits for the end of this turn shows nothing about the other end.
      if (!outbox.fits(frame.bytes)) write()
      if (!outbox.fits(frame.bytes) && !makeRoom(frame.bytes)) return outbox.sent
      session.sent = outbox.push(frame)
      if (!scheduled && session.link && !blocked) {
        scheduled = true
        schedule(write)
      }
      return session.sent
    },
    withdraw: (number) => number > session.written && outbox.erase(number),
    bind(link, { receiveFrom, sendFrom }) {
      if (session.ended) return link.close('closed')
      session.link = link
      next = receiveFrom
      session.writtenHere = sendFrom - 1
      resume()
    },
    renumber(link, receiveFrom) {
      if (session.link === link) next = receiveFrom
    },
    unbind(link) {
      if (session.link === link) session.link = undefined
    },
    drained(link) {
      if (session.link === link) resume()
    },
    receive(link, frame) {
      if (session.ended || session.link !== link) return
      const { header } = frame
      handler.heard?.(header[0])
      const number = next
      if (isSessionKind(header[0])) {
        next += frameCount(header)
        return session.accept(frame, number)
      }
      // Everything written before a ping came before it: a different count is a fault that must not stay hidden.
      if (header[0] === 'ping' && header[1] !== number - 1)
        return session.end('numbering', `${number - 1} came of ${String(header[1])}`)
      session.control(frame)
    },
    accept(frame, number) {
      const last = number + frameCount(frame.header) - 1
      if (last <= session.received) return
      if (number > session.received + 1)
        return session.end('numbering', `${number} came after ${session.received}`)
      session.received = last
      if (frame.header[0] !== 'void') handler.frame(frame, number)
      unconfirmedBytes += frame.data?.length ?? 0
      if (session.received - confirmed >= ackFrames || unconfirmedBytes >= ackBytes)
        session.link?.send([confirmation('seen')])
    },
    control({ header: [kind, field, reason] }) {
      if (kind === 'close')
        finish(
          // Whatever the other end calls it must not reach logs and close frames at any length.
          (field as string).length <= maxCodeLength ? (field as ErrorCode) : 'closed',
          (reason ?? '') as string,
        )
      if (kind === 'ping') pong()
      if (kind === 'pong' || kind === 'seen') session.acknowledge(field as number)
    },
    acknowledge(number) {
      if (session.ended || number <= session.acked) return
      if (number > session.written)
        return session.end('numbering', `${number} confirmed of ${session.written}`)
      session.acked = number
      outbox.drop(number)
      handler.acknowledged?.(number)
    },
    ping() {
      write()
      say('ping', session.writtenHere)
    },
    end(code, reason = '') {
      if (session.ended) return
      say('close', code, reason)
      finish(code, reason)
    },
    leave() {
      const { link } = session
      session.ended = true
      session.link = undefined
      return link
    },
  }
  return session
}
