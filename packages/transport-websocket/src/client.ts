import {
  codeOf,
  codeOfClose,
  codes,
  encodeFrame,
  EverwireError,
  frameBytes,
  frameText,
  parseFrame,
  protocolVersion,
  randomBase32,
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
const open = 1

/** The WebSocket transport. */
export function webSocket(options: WebSocketClientOptions = {}): ClientTransport {
  const Socket =
    options.WebSocket ?? (globalThis as { WebSocket?: new (url: string) => WebSocketLike }).WebSocket

  const connect = (
    { url }: ClientHandshake,
    handler: LinkHandler,
    onOpen: (link: Link) => void,
  ): SocketLink => {
    const socket = new Socket!(`${url.replace(/^http/, 'ws')}/${name}`)
    const link = new SocketLink(socket, handler)
    socket.onopen = () => onOpen(link)
    return link
  }

  return {
    name,
    supported: () => Socket !== undefined,

    attach: (handshake, handler) => connect(handshake, handler, (link) => link.send([handshake.attach()])),

    probe: (handshake, signal) =>
      new Promise((resolve, reject) => {
        const nonce = randomBase32(16)
        let greeted = false
        let attached = false
        const fail = (code: ErrorCode, reason: string) => reject(new EverwireError(code, reason))
        const link = connect(
          handshake,
          {
            receive({ header: [kind, fields] }) {
              if (kind === 'hello') greeted = (fields as { nonce?: unknown }).nonce === nonce
              else if (kind === 'pong' && greeted)
                resolve({
                  attach(next, handler) {
                    attached = true
                    link.handler = handler
                    link.send([next.attach()])
                    return link
                  },
                  close: () => attached || link.close('closed'),
                })
            },
            drained() {},
            closed: fail,
          },
          () => link.send([encodeFrame(['hello', { v: protocolVersion, nonce }]), encodeFrame(['ping', 0])]),
        )
        const abort = () => {
          if (attached) return
          fail('link-lost', 'the probe was given up')
          link.close('closed')
        }
        if (signal.aborted) abort()
        else signal.addEventListener('abort', abort)
      }),
  }
}

class SocketLink implements Link {
  readonly transport = name
  handler: LinkHandler
  readonly #socket: WebSocketLike
  #over = false

  constructor(socket: WebSocketLike, handler: LinkHandler) {
    this.#socket = socket
    this.handler = handler
    socket.binaryType = 'arraybuffer'
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => this.#receive(data)
    socket.onerror = () => {}
    socket.onclose = ({ code, reason }: { code: number; reason: string }) =>
      this.#finish(
        Object.hasOwn(codes, reason) ? (reason as ErrorCode) : codeOfClose(code),
        `closed with ${code}`,
      )
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedAmount
  }

  send(frames: readonly EncodedFrame[]): boolean {
    // What the browser buffers is bounded by the session's outbox, and it tells no drain.
    if (!this.#over && this.#socket.readyState === open)
      for (const frame of frames)
        this.#socket.send(frame.binary ? (frameBytes(frame) as Uint8Array<ArrayBuffer>) : frameText(frame))
    return true
  }

  close(code: ErrorCode, reason = ''): void {
    if (this.#over) return
    this.#socket.close(4000, code)
    this.#finish(code, reason)
  }

  #receive(data: string | ArrayBuffer): void {
    if (this.#over) return
    let frame: Frame
    try {
      frame = parseFrame(typeof data === 'string' ? data : new Uint8Array(data), {
        binary: typeof data !== 'string',
        maxBytes: Number.POSITIVE_INFINITY,
      })
    } catch (error) {
      return this.close(codeOf(error), 'a frame could not be read')
    }
    this.handler.receive(frame)
  }

  #finish(code: ErrorCode, reason: string): void {
    if (this.#over) return
    this.#over = true
    this.handler.closed(code, reason)
  }
}
