import {
  codeOf,
  encodeFrame,
  EverwireError,
  exchangeFrames,
  frameCount,
  isSessionKind,
  parseHeader,
  refusal,
  type EncodedFrame,
  type Fetch,
} from '@everwire/core'

export interface UplinkOptions {
  fetch: Fetch
  url: string
  headers: () => Readonly<Record<string, string>>
  /** What the session is called now; it changes when it moves to another node. */
  session: () => string | undefined
  /** Most frames in one request. */
  maxFrames: number
  /** The server has applied everything up to here. */
  applied(number: number): void
  /** The way up does not work. */
  failed(error: EverwireError): void
}

/** Most bytes in one request, unless a single frame has more. */
const maxBytes = 262_144

/**
 * The way up of the one-way transports: requests one after the other, each with what has gathered meanwhile. Frames
 * carry their numbers, so that a request that is doubled or comes late is recognised.
 */
export interface Uplink {
  /** Number of the first frame that will be sent. */
  start(first: number): void
  send(frames: readonly EncodedFrame[]): boolean
  /** Sends no more; what is under way stays so. */
  stop(): void
}

export function createUplink({
  fetch,
  url,
  headers,
  session,
  maxFrames,
  applied,
  failed,
}: UplinkOptions): Uplink {
  let queue: EncodedFrame[] = []
  let next = 1
  /** Kept: the last word of a session is sent after it was forgotten, and another may have begun. */
  let id = ''
  let busy = false
  let stopped = false

  const take = (): EncodedFrame[] => {
    let bytes = 0
    let count = 0
    while (count < queue.length && count < maxFrames) {
      bytes += queue[count]!.bytes
      if (count > 0 && bytes > maxBytes) break
      count++
    }
    const batch = queue.slice(0, count)
    queue = queue.slice(count)
    return batch
  }

  const pump = async () => {
    if (busy) return
    busy = true
    // What one turn of the event loop sends goes together.
    await Promise.resolve()
    while (queue.length > 0) {
      const batch = take()
      if (!stopped) id = session() ?? id
      const head = encodeFrame(['uplink', { session: id, first: next }])
      for (const frame of batch)
        if (isSessionKind(frame.kind)) next += frame.kind === 'void' ? frameCount(parseHeader(frame.head)) : 1
      let answer = 0
      await exchangeFrames(
        {
          fetch,
          url: `${url}/uplink`,
          method: 'POST',
          headers: headers(),
          frames: [head, ...batch],
          // The last word of a page that is being left should still arrive.
          keepalive: batch.some(({ kind }) => kind === 'close'),
        },
        (frame) => {
          if (frame.header[0] === 'refuse') throw refusal(frame)
          if (frame.header[0] === 'seen') answer = frame.header[1] as number
        },
      )
      if (stopped) {
        // Nobody listens any more; but a good-bye must not be lost behind the request that was under way.
        queue = queue.filter(({ kind }) => kind === 'close')
        continue
      }
      if (answer < next - 1)
        throw new EverwireError('link-lost', `the server applied ${answer} frames of ${next - 1}`)
      applied(answer)
    }
    busy = false
  }

  return {
    start(first) {
      next = first
      id = session() ?? id
    },
    send(frames) {
      if (stopped) return true
      queue.push(...frames)
      pump().catch((error: unknown) => {
        if (stopped) return
        stopped = true
        failed(
          error instanceof EverwireError
            ? error
            : new EverwireError(codeOf(error, 'link-lost'), String(error)),
        )
      })
      return true
    },
    stop() {
      stopped = true
    },
  }
}
