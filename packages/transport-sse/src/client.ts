import {
  createGreeting,
  createHttpLink,
  EverwireError,
  exchangeFrames,
  type ClientTransport,
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
  const methods: Method[] = method === 'auto' ? ['GET', 'POST'] : [method]
  const now = () => methods.find((one) => one === transport.way) ?? methods[0]!
  const other = () => methods.find((one) => one !== now())

  const attach: ClientTransport['attach'] = (handshake, handler) =>
    createHttpLink(name, handshake, handler, (signal, receive) => {
      let isSilent = true
      return exchangeFrames(
        handshake,
        name,
        [handshake.attach()],
        (frame) => {
          isSilent = false
          receive(frame)
        },
        { method: now(), signal },
      ).finally(() => {
        if (isSilent) transport.way = other() ?? now()
      })
    })

  const transport: ClientTransport = {
    name,
    supported: () => typeof ReadableStream === 'function',
    attach,
    probe: (handshake, signal) =>
      new Promise((resolve, reject) => {
        const controller = new AbortController()
        let open = 0
        const close = () => {
          cancel?.()
          controller.abort()
        }
        const ask = (method: Method) => {
          const { frames, hear } = createGreeting()
          open++
          exchangeFrames(
            handshake,
            name,
            frames,
            (frame) => {
              // It came while the stream was still open: nothing on the way holds it back.
              if (!hear(frame)) return
              transport.way = method
              resolve({ attach, close })
              close()
            },
            { method, signal: controller.signal },
          )
            .then(() => {
              throw new EverwireError('link-lost', 'no hello')
            })
            .catch((error: EverwireError) => {
              // While it is still asked the other way, that one decides.
              if (--open) return
              close()
              reject(error)
            })
        }
        const second = other()
        const cancel = second && handshake.clock.after(heldBackMs, () => ask(second))
        signal.addEventListener('abort', close)
        if (signal.aborted) close()
        ask(now())
      }),
  }
  return transport
}
