import type { Welcome } from './attach.js'
import { readHeader } from './codec.js'
import { codeOf, EverwireError } from './errors.js'
import { encodeFrame, frameCount, isSessionKind, type EncodedFrame, type Frame } from './frame.js'
import { exchangeFrames } from './http-frames.js'
import type { Link, LinkHandler } from './link.js'
import { refusal } from './refusal.js'
import type { ClientHandshake } from './transport.js'

/** Reads what comes down until it ends; rejects when that is no good end. */
export type ReadDown = (signal: AbortSignal, receive: (frame: Frame) => void) => Promise<void>

/** Most frames in one request. */
const maxFrames = 100
/** Most bytes in one request, unless a single frame has more. */
const maxBytes = 262_144

/** How long what is under way may go on when the link is over. */
const goodByeMs = 2_000

const isGoodBye = ({ kind }: EncodedFrame) => kind === 'close'

/**
 * The client's end of a link over HTTP. What comes down is the transport's own. What goes up are requests beside it, one
 * after the other, each with what has gathered meanwhile; frames carry their numbers, so that a request that is doubled
 * or comes late is recognised.
 */
export function createHttpLink(
  transport: string,
  handshake: ClientHandshake,
  handler: LinkHandler,
  readDown: ReadDown,
): Link {
  const controller = new AbortController()
  const { signal } = controller
  const goingUp = new AbortController()
  let queue: EncodedFrame[] = []
  /** Number of the first frame that will be sent; 0 until the server has said it. */
  let next = 0
  /** Kept: the last word of a session is sent after it was forgotten, and another may have begun. */
  let id = ''
  let busy = false

  const close: LinkHandler['closed'] = (code, ...why) => {
    if (signal.aborted) return
    controller.abort()
    // A request that is never answered would hold one of the few connections that a browser gives a host.
    if (busy) handshake.clock.after(goodByeMs, () => goingUp.abort())
    handler.closed(code, ...why)
  }
  const fail = (error: unknown) => {
    const { message, retryAfterMs } = error as EverwireError
    close(codeOf(error), message, retryAfterMs)
  }
  const receive = (frame: Frame) => {
    if (signal.aborted) return
    const [kind, fields] = frame.header as [string, Welcome]
    if (kind === 'welcome') next ||= fields.applied + 1
    handler.receive(frame)
    id = handshake.session() ?? id
  }

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
      if (!signal.aborted) id = handshake.session() ?? id
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
            receive(frame)
            throw refusal(frame)
          }
          if (kind === 'seen') answer = number as number
        },
        // The last word of a page that is being left should still arrive.
        { keepalive: batch.some(isGoodBye), signal: goingUp.signal },
      )
      // Nobody listens any more; but a good-bye must not be lost behind the request that was under way.
      if (signal.aborted) queue = queue.filter(isGoodBye)
      else if (answer < next - 1) throw new EverwireError('link-lost', `${answer} of ${next - 1} applied`)
      else handshake.applied(answer)
    }
    busy = false
  }

  readDown(signal, receive).then(() => close('link-lost', 'it ended'), fail)
  return {
    transport,
    bufferedBytes: 0,
    send(frames) {
      if (!signal.aborted) {
        queue.push(...frames)
        pump().catch(fail)
      }
      return true
    },
    close,
  }
}
