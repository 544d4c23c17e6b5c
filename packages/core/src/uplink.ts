import { EverwireError } from './errors.js'
import { encodeFrame, frameCount, isSessionKind, type EncodedFrame, type Frame } from './frame.js'
import { readHeader } from './codec.js'
import { exchangeFrames } from './http-frames.js'
import { refusal } from './refusal.js'
import type { ClientHandshake } from './transport.js'

/** Most frames in one request. */
const maxFrames = 100
/** Most bytes in one request, unless a single frame has more. */
const maxBytes = 262_144

const isGoodBye = ({ kind }: EncodedFrame) => kind === 'close'

/**
 * The way up of the one-way transports: requests one after the other, each with what has gathered meanwhile. Frames
 * carry their numbers, so that a request that is doubled or comes late is recognised.
 */
export interface Uplink {
  /** Number of the first frame that will be sent. */
  start(first: number): void
  send(frames: readonly EncodedFrame[]): void
  /** Sends no more, but a good-bye; what is under way stays so. */
  stop(): void
}

/** @param failed the way up does not work; called once, after the frame that says why, if the server said so */
export function createUplink(
  handshake: ClientHandshake,
  receive: (frame: Frame) => void,
  failed: (error: unknown) => void,
): Uplink {
  let queue: EncodedFrame[] = []
  let next = 1
  /** Kept: the last word of a session is sent after it was forgotten, and another may have begun. */
  let id = ''
  let busy = false
  let stopped = false

  const take = (): EncodedFrame[] => {
    let bytes = 0
    const end = queue.findIndex((frame, i) => (bytes += frame.bytes) > maxBytes && i > 0)
    return queue.splice(0, end < 0 ? maxFrames : Math.min(end, maxFrames))
  }

  const pump = async () => {
    if (busy) return
    busy = true
    // What one turn of the event loop sends goes together.
    await Promise.resolve()
    while (queue.length) {
      const batch = take()
      if (!stopped) id = handshake.session() ?? id
      const head = encodeFrame(['uplink', { session: id, first: next }])
      for (const { kind, head } of batch) if (isSessionKind(kind)) next += frameCount(readHeader(head))
      let answer = 0
      await exchangeFrames(
        handshake,
        'uplink',
        [head, ...batch],
        (frame) => {
          const [kind, number] = frame.header
          if (kind === 'refuse') {
            if (!stopped) receive(frame)
            throw refusal(frame)
          }
          if (kind === 'seen') answer = number as number
        },
        // The last word of a page that is being left should still arrive.
        { keepalive: batch.some(isGoodBye) },
      )
      // Nobody listens any more; but a good-bye must not be lost behind the request that was under way.
      if (stopped) queue = queue.filter(isGoodBye)
      else if (answer < next - 1) throw new EverwireError('link-lost', `${answer} of ${next - 1} applied`)
      else handshake.applied(answer)
    }
    busy = false
  }

  return {
    start(first) {
      next = first
      id = handshake.session() ?? id
    },
    send(frames) {
      if (stopped) return
      queue.push(...frames)
      pump().catch((error: unknown) => {
        if (stopped) return
        stopped = true
        failed(error)
      })
    },
    stop() {
      stopped = true
    },
  }
}
