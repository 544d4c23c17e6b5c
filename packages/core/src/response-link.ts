import type { Cancel, Clock } from './clock.js'
import type { ErrorCode } from './codes.js'
import { encodeEvent } from './event-stream.js'
import type { EncodedFrame } from './frame.js'
import { startOf, streamHeaders, type ResponseLike } from './response-head.js'
import type { Link, LinkHandler } from './link.js'

export interface ResponseLinkOptions {
  transport: string
  response: ResponseLike
  /** Headers that the application has set so far. */
  headers: Record<string, string | string[] | number | undefined>
  highWaterBytes: number
  clock: Clock
  /** Encodes a frame once for every link that carries it. @default encodeEvent */
  encode?: (frame: EncodedFrame) => string | Uint8Array
  /** Ends with its first batch, or after so long: a long poll. */
  poll?: { waitMs: number }
}

export interface ResponseLink extends Link {
  /** Who hears of this link; at once, before anything else happens. */
  handler: LinkHandler | undefined
  /** The connection below is gone. */
  lost(): void
}

/** Where a response tells of its end; the part of Node's ServerResponse that is used. */
export interface ResponseEvents {
  readonly destroyed: boolean
  on(event: 'close' | 'error', listener: () => void): unknown
}

/** How long the end of an answer may take to leave. As long as ws waits for the answer to a close. */
const closeTimeoutMs = 30_000

/** A link over one HTTP response. The way up is somebody else's. */
export function createResponseLink({
  transport,
  response,
  headers,
  highWaterBytes,
  clock,
  encode = encodeEvent,
  poll,
}: ResponseLinkOptions): ResponseLink {
  let started = false
  let over = false
  let ending = false
  let cancelWait: Cancel = () => {}
  let cancelDestroy: Cancel = () => {}

  const finish = (code: ErrorCode, reason: string) => {
    if (over) return
    over = true
    cancelWait()
    link.handler?.closed(code, reason)
  }
  const start = (first?: EncodedFrame) => {
    started = true
    const { status, headers: more } = startOf(first)
    response.writeHead(status, { ...headers, ...streamHeaders, ...more })
  }
  const end = (code: ErrorCode, reason: string) => {
    if (over) return
    if (!started) start()
    response.end()
    // A peer that reads no more would hold the connection, and what it buffers, for ever.
    cancelDestroy = clock.after(closeTimeoutMs, () => response.destroy())
    finish(code, reason)
  }
  const endSoon = () => {
    if (ending) return
    ending = true
    queueMicrotask(() => end('link-lost', 'the poll is answered'))
  }

  const link: ResponseLink = {
    handler: undefined,
    transport,
    brief: poll !== undefined,
    get bufferedBytes() {
      return response.writableLength
    },
    send(frames) {
      if (over) return true
      const answer = !started
      if (answer) start(frames[0])
      // Text and bytes may stand side by side; each is written as it is, and the kernel sees one write per turn.
      for (const frame of frames) response.write(encode(frame))
      if (!poll) return response.writableLength < highWaterBytes
      // The first frame answers the request, whatever else comes completes the poll.
      if (!answer || poll.waitMs === 0) endSoon()
      else cancelWait = clock.after(poll.waitMs, () => end('link-lost', 'nothing came'))
      return answer && poll.waitMs > 0
    },
    close: (code, reason = '') => end(code, reason),
    lost: () => {
      cancelDestroy()
      finish('link-lost', 'the connection is gone')
    },
  }
  return link
}

/** Ends a link with the connection below, also with one that broke while hooks were awaited: that is told no more. */
export function endWithConnection(link: ResponseLink, response: ResponseEvents): void {
  const lost = () => link.lost()
  response.on('close', lost)
  response.on('error', lost)
  if (response.destroyed) lost()
}
