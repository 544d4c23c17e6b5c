import {
  createGreeting,
  createHttpLink,
  EverwireError,
  exchangeFrames,
  type ClientHandshake,
  type ClientTransport,
  type EncodedFrame,
  type Frame,
  type Link,
  type LinkHandler,
} from '@everwire/core'

export interface SseClientOptions {
  /**
   * POST gets through some proxies that hold back what they know as an event stream. `auto` begins with GET, and
   * tries POST where that stays silent. @default 'auto'
   */
  method?: 'auto' | 'GET' | 'POST'
  /** How long `auto` waits for the first bytes of a GET. @default 500 */
  heldBackMs?: number
}

const name = 'sse'

/** The Server-Sent Events transport, read by `fetch`, so that headers can be sent and a stream can be a POST. */
export function sse({ method = 'auto', heldBackMs = 500 }: SseClientOptions = {}): ClientTransport {
  type Method = 'GET' | 'POST'
  const now = (): Method => (method !== 'auto' ? method : transport.way === 'POST' ? 'POST' : 'GET')
  const other = (): Method => (method !== 'auto' ? method : now() === 'POST' ? 'GET' : 'POST')

  const stream = (
    { fetch, url, headers }: ClientHandshake,
    method: Method,
    frames: readonly EncodedFrame[],
    signal: AbortSignal,
    onFrame: (frame: Frame) => void,
  ) =>
    exchangeFrames(
      { fetch, url: `${url}/${name}`, method, headers, frames, signal, maxBytes: Infinity },
      onFrame,
    )

  const attach = (handshake: ClientHandshake, handler: LinkHandler): Link => {
    let silent = true
    return createHttpLink(
      name,
      handshake,
      {
        receive(frame) {
          silent = false
          handler.receive(frame)
        },
        drained() {},
        closed(code, reason, retryAfterMs) {
          if (silent) transport.way = other()
          handler.closed(code, reason, retryAfterMs)
        },
      },
      (signal, receive) => stream(handshake, now(), [handshake.attach()], signal, receive),
    )
  }

  const transport: ClientTransport = {
    name,
    supported: () => typeof ReadableStream === 'function',
    attach,
    probe: (handshake, signal) =>
      new Promise((resolve, reject) => {
        const controller = new AbortController()
        let open = 0
        let cancel = () => {}
        const close = () => {
          cancel()
          controller.abort()
        }
        signal.addEventListener('abort', close)
        const ask = (by: Method) => {
          const { frames, hear } = createGreeting()
          const failed = (error: unknown) => {
            // While it is still asked the other way, that one decides.
            if (--open === 0) reject(error)
          }
          open++
          stream(handshake, by, frames, controller.signal, (frame) => {
            // It came while the stream was still open: nothing on the way holds it back.
            if (!hear(frame)) return
            transport.way = by
            resolve({ attach, close })
            close()
          }).then(() => failed(new EverwireError('link-lost', 'the stream ended before the hello')), failed)
        }
        if (signal.aborted) close()
        else if (other() !== now()) cancel = handshake.clock.after(heldBackMs, () => ask(other()))
        ask(now())
      }),
  }
  return transport
}
