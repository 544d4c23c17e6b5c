import {
  codeOf,
  codeOfClose,
  createGreeting,
  EverwireError,
  frameBytes,
  frameText,
  readFrame,
  type ClientHandshake,
  type ClientTransport,
  type EncodedFrame,
  type Link,
  type LinkHandler,
} from '@everwire/core'

/** The part of the browser's WebSocket that is used; that of `ws` fits too. */
export interface WebSocketLike {
  binaryType: string
  readonly readyState: number
  readonly bufferedAmount: number
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  send(data: string | Uint8Array<ArrayBuffer>): void
  close(code?: number, reason?: string): void
}

export interface WebSocketClientOptions {
  /** @default the runtime's own, where it has one; on Node 20 hand in that of `ws` */
  WebSocket?: new (url: string) => WebSocketLike
}

const name = 'websocket'
const isOpen = 1

/** The WebSocket transport. */
export function webSocket(options: WebSocketClientOptions = {}): ClientTransport {
  const Socket =
    options.WebSocket ?? (globalThis as { WebSocket?: new (url: string) => WebSocketLike }).WebSocket

  /** A link, and how it is handed on to who attaches over it. */
  const connect = (
    { url }: ClientHandshake,
    first: () => readonly EncodedFrame[],
    handler: LinkHandler,
  ): [Link, hand: (to: LinkHandler) => void] => {
    const socket = new Socket!(`${url.replace(/^http/, 'ws')}/${name}`)
    let over = false
    const close: LinkHandler['closed'] = (code, ...why) => {
      if (over) return
      over = true
      socket.close(4000, code.slice(0, 40))
      handler.closed(code, ...why)
    }
    const link: Link = {
      transport: name,
      get bufferedBytes() {
        return socket.bufferedAmount
      },
      send(frames) {
        // What the browser buffers is bounded by the session's outbox, and it tells no drain.
        if (!over && socket.readyState === isOpen)
          for (const frame of frames)
            socket.send(frame.binary ? (frameBytes(frame) as Uint8Array<ArrayBuffer>) : frameText(frame))
        return true
      },
      close,
    }
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => link.send(first())
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      const binary = typeof data !== 'string'
      try {
        if (!over) handler.receive(readFrame(binary ? new Uint8Array(data) : data, binary))
      } catch (error) {
        // A refusal of the probe, or a frame that makes no sense.
        const { message, retryAfterMs } = error as EverwireError
        close(codeOf(error), message, retryAfterMs)
      }
    }
    socket.onerror = () => {}
    socket.onclose = ({ code, reason }: { code: number; reason: string }) =>
      close(codeOfClose(code, reason), `closed with ${code}`)
    return [
      link,
      (to) => {
        handler = to
      },
    ]
  }

  return {
    name,
    supported: () => Socket !== undefined,

    attach: (handshake, handler) => connect(handshake, () => [handshake.attach()], handler)[0],

    probe: (handshake, signal) =>
      new Promise((resolve, reject) => {
        const { frames, hear } = createGreeting()
        let attached = false
        const [link, hand] = connect(handshake, () => frames, {
          receive(frame) {
            if (!hear(frame)) return
            resolve({
              attach(next, handler) {
                attached = true
                hand(handler)
                link.send([next.attach()])
                return link
              },
              close,
            })
          },
          drained() {},
          closed: (code, reason, retryAfterMs) => reject(new EverwireError(code, reason, { retryAfterMs })),
        })
        const close = () => {
          if (!attached) link.close('link-lost')
        }
        signal.addEventListener('abort', close)
        if (signal.aborted) close()
      }),
  }
}
