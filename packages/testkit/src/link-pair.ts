import {
  codeOf,
  defaults,
  frameBytes,
  frameText,
  parseFrame,
  type EncodedFrame,
  type ErrorCode,
  type Link,
  type LinkHandler,
} from '@everwire/core'

export interface LinkPairOptions {
  /** Name that both links give as their transport. @default 'memory' */
  transport?: string
  /** Nothing is delivered until `deliver` or `release` is called. @default false */
  held?: boolean
  /** Bytes in flight above which a link counts as blocked. @default 262144 */
  highWaterBytes?: number
  /** Largest frame in bytes. @default 65536 */
  maxBytes?: number
  /** Calls back soon: deliveries and `closed` go through it, never straight from `send`. @default a microtask */
  schedule?: (run: () => void) => void
}

/** One end of a pair. */
export interface LinkEnd extends Link {
  /** Whether this end knows that the link is over. */
  readonly over: boolean
  /** Who hears what comes in; what came before this call waits. */
  listen(handler: LinkHandler): void
}

/** The network in one direction. */
export interface Lane {
  /** Frames sent and not delivered. */
  readonly inFlight: number
  /** Delivers nothing from now on; frames wait. */
  hold(): void
  /** Delivers what waits, and everything later by itself. */
  release(): void
  /** Delivers up to `count` frames now, in order. @returns how many came across */
  deliver(count?: number): number
  /** The sender is told that the link takes no more, however little is in flight. */
  block(): void
  unblock(): void
}

export interface LinkPair {
  readonly client: LinkEnd
  readonly server: LinkEnd
  /** From client to server. */
  readonly up: Lane
  /** From server to client. */
  readonly down: Lane
  /** The connection has been cut. */
  readonly dead: boolean
  /**
   * Cuts the connection: what is in flight is lost, and nothing passes any more. `tell` says who learns of it; an end
   * that is not told sees an open link which stays silent, until a later `cut` tells it. @default 'both'
   */
  cut(options?: { tell?: 'both' | 'client' | 'server' | 'nobody'; code?: ErrorCode }): void
}

type Packet =
  | { bytes: number; payload: string | Uint8Array; binary: boolean }
  | { close: ErrorCode; reason?: string | undefined }

/**
 * Two joined links without sockets, and the network between them in the test's hands. Frames cross as bytes: each is
 * encoded at one end and parsed at the other, as on a WebSocket.
 */
export function createLinkPair({
  transport = 'memory',
  held = false,
  highWaterBytes = defaults.highWaterBytes,
  maxBytes = defaults.frameBytes,
  schedule = queueMicrotask,
}: LinkPairOptions = {}): LinkPair {
  let dead = false

  const createLane = () => {
    let packets: Packet[] = []
    let bytes = 0
    let holding = held
    let scheduled = false
    let blocked = false
    let owesDrain = false

    const full = () => blocked || bytes > highWaterBytes
    const drain = () => {
      if (!owesDrain || full()) return
      owesDrain = false
      lane.from?.drained()
    }
    const wake = () => {
      if (holding || scheduled || packets.length === 0 || !lane.to?.ready()) return
      scheduled = true
      schedule(() => {
        scheduled = false
        if (!holding) deliver()
      })
    }
    const deliver = (count = Infinity) => {
      let delivered = 0
      while (packets.length > 0 && delivered < count && lane.to?.ready()) {
        const packet = packets.shift()!
        delivered++
        if ('close' in packet) {
          lane.to.over(packet.close, packet.reason)
          break
        }
        bytes -= packet.bytes
        lane.to.receive(packet.payload, packet.binary)
        drain()
      }
      return delivered
    }
    const lane = {
      from: undefined as { drained(): void } | undefined,
      to: undefined as
        | {
            ready(): boolean
            receive(payload: string | Uint8Array, binary: boolean): void
            over(code: ErrorCode, reason?: string): void
          }
        | undefined,
      get bytes() {
        return bytes
      },
      wake,
      put(packet: Packet) {
        if (dead) return
        packets.push(packet)
        if ('bytes' in packet) bytes += packet.bytes
        wake()
      },
      takes() {
        if (full()) owesDrain = true
        return !full()
      },
      clear() {
        packets = []
        bytes = 0
      },
      control: {
        get inFlight() {
          return packets.length
        },
        hold() {
          holding = true
        },
        release() {
          holding = false
          wake()
        },
        deliver,
        block() {
          blocked = true
        },
        unblock() {
          blocked = false
          drain()
        },
      } satisfies Lane,
    }
    return lane
  }

  const createEnd = (out: ReturnType<typeof createLane>, into: ReturnType<typeof createLane>) => {
    let handler: LinkHandler | undefined
    let over = false
    let told = false

    const end = (code: ErrorCode, reason?: string) => {
      over = true
      if (told || !handler) return
      told = true
      handler.closed(code, reason)
    }
    const link: LinkEnd = {
      transport,
      get bufferedBytes() {
        return over ? 0 : out.bytes
      },
      get over() {
        return over
      },
      send(frames: readonly EncodedFrame[]) {
        if (over) return true
        for (const frame of frames) {
          const binary = frame.binary === true && frame.data !== undefined
          out.put({ bytes: frame.bytes, payload: binary ? frameBytes(frame) : frameText(frame), binary })
        }
        return out.takes()
      },
      close(code, reason) {
        if (over) return
        over = true
        out.put({ close: code, reason })
        schedule(() => end(code, reason))
      },
      listen(given) {
        handler = given
        into.wake()
      },
    }
    out.from = {
      drained() {
        if (!over) handler?.drained()
      },
    }
    into.to = {
      ready: () => handler !== undefined,
      receive(payload, binary) {
        if (over) return
        let frame
        try {
          frame = parseFrame(payload, { binary, maxBytes })
        } catch (error) {
          link.close(codeOf(error), (error as Error).message)
          return
        }
        handler?.receive(frame)
      },
      over: end,
    }
    return { link, end }
  }

  const up = createLane()
  const down = createLane()
  const client = createEnd(up, down)
  const server = createEnd(down, up)

  return {
    client: client.link,
    server: server.link,
    up: up.control,
    down: down.control,
    get dead() {
      return dead
    },
    cut({ tell = 'both', code = 'link-lost' } = {}) {
      dead = true
      up.clear()
      down.clear()
      if (tell === 'both' || tell === 'client') schedule(() => client.end(code))
      if (tell === 'both' || tell === 'server') schedule(() => server.end(code))
    },
  }
}
