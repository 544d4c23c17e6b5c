import {
  codeOf,
  encodeFrame,
  EverwireError,
  exchangeFrames,
  protocolVersion,
  randomBase32,
  refusal,
  type ClientHandshake,
  type ClientTransport,
  type EncodedFrame,
  type ErrorCode,
  type Frame,
  type Link,
  type LinkHandler,
} from '@everwire/core'

export interface SseClientOptions {
  /** POST gets through some proxies that hold back what they know as an event stream. @default 'GET' */
  method?: 'GET' | 'POST'
}

const name = 'sse'

/** The Server-Sent Events transport, read by `fetch`, so that headers can be sent and a stream can be a POST. */
export function sse({ method = 'GET' }: SseClientOptions = {}): ClientTransport {
  const stream = (
    { fetch, url, headers }: ClientHandshake,
    frames: readonly EncodedFrame[],
    signal: AbortSignal,
    onFrame: (frame: Frame) => void,
  ) =>
    exchangeFrames(
      { fetch, url: `${url}/${name}`, method, headers, frames, signal, maxBytes: Number.MAX_SAFE_INTEGER },
      onFrame,
    )

  const attach = (handshake: ClientHandshake, handler: LinkHandler): Link => {
    const controller = new AbortController()
    let over = false
    const finish = (code: ErrorCode, reason: string) => {
      if (over) return
      over = true
      controller.abort()
      handler.closed(code, reason)
    }
    stream(handshake, [handshake.attach()], controller.signal, (frame) => {
      if (!over) handler.receive(frame)
    }).then(
      () => finish('link-lost', 'the stream ended'),
      (error: unknown) => finish(codeOf(error), String(error)),
    )
    return {
      transport: name,
      bufferedBytes: 0,
      send: (frames) => over || handshake.uplink(frames),
      close: (code, reason = '') => finish(code, reason),
    }
  }

  return {
    name,
    supported: () => typeof ReadableStream === 'function',
    attach,
    probe: (handshake, signal) =>
      new Promise((resolve, reject) => {
        const nonce = randomBase32(16)
        const controller = new AbortController()
        const close = () => controller.abort()
        if (signal.aborted) close()
        signal.addEventListener('abort', close)
        let greeted = false
        const hello = [encodeFrame(['hello', { v: protocolVersion, nonce }]), encodeFrame(['ping', 0])]
        stream(handshake, hello, controller.signal, (frame) => {
          const [kind, fields] = frame.header
          if (kind === 'refuse') reject(refusal(frame))
          if (kind === 'hello') greeted = (fields as { nonce?: unknown }).nonce === nonce
          // It came while the stream was still open: nothing on the way holds it back.
          if (kind === 'pong' && greeted) {
            resolve({ attach, close })
            close()
          }
        }).then(() => reject(new EverwireError('link-lost', 'the stream ended before the hello')), reject)
      }),
  }
}
