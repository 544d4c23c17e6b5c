import {
  codeOf,
  codeOfClose,
  createGreeting,
  EverwireError,
  frameBytes,
  frameText,
  parseFrame,
  type ClientHandshake,
  type ClientTransport,
  type EncodedFrame,
  type ErrorCode,
  type Frame,
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
  const connect = ({ url }: ClientHandshake, first: () => readonly EncodedFrame[], handler: LinkHandler) => {
    const socket = new Socket!(`${url.replace(/^http/, 'ws')}/${name}`)
    let over = false
    const finish = (code: ErrorCode, reason?: string) => {
      if (over) return
      over = true
      handler.closed(code, reason)
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
      close(code, reason) {
        if (!over) socket.close(4000, code)
        finish(code, reason)
      },
    }
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => link.send(first())
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      if (over) return
      const binary = typeof data !== 'string'
      let frame: Frame
      try {
        frame = parseFrame(binary ? new Uint8Array(data) : data, { binary, maxBytes: Infinity })
      } catch (error) {
        return link.close(codeOf(error), 'a frame could not be read')
      }
      handler.receive(frame)
    }
    socket.onerror = () => {}
    socket.onclose = ({ code, reason }: { code: number; reason: string }) =>
      finish(codeOfClose(code, reason), `closed with ${code}`)
    return {
      link,
      hand(to: LinkHandler) {
        handler = to
      },
    }
  }

  return {
    name,
    supported: () => Socket !== undefined,

    attach: (handshake, handler) => connect(handshake, () => [handshake.attach()], handler).link,

    probe: (handshake, signal) =>
      new Promise((resolve, reject) => {
        const { frames, hear } = createGreeting()
        let attached = false
        const { link, hand } = connect(handshake, () => frames, {
          receive(frame) {
            try {
              if (!hear(frame)) return
            } catch (error) {
              return reject(error)
            }
            resolve({
              attach(next, handler) {
                attached = true
                hand(handler)
                link.send([next.attach()])
                return link
              },
              close: abort,
            })
          },
          drained() {},
          closed: (code, reason) => reject(new EverwireError(code, reason)),
        })
        const abort = () => {
          if (!attached) link.close('link-lost', 'given up')
        }
        if (signal.aborted) abort()
        signal.addEventListener('abort', abort)
      }),
  }
}
