import type { ClientTransport, Link, LinkHandler } from '@everwire/core'

/** One try of one transport, from its start to the end of what came of it. */
export interface Try {
  readonly transport: string
  /** Milliseconds since the visit began. */
  readonly startedMs: number
  /** When the server welcomed it: it carries the session from then on. */
  carriesMs?: number
  endedMs?: number
  /** Why it ended. */
  why?: string
}

const ends: Readonly<Record<string, string>> = {
  closed: 'the visit was over',
  superseded: 'another link took over',
}

/** Writes down what a client does with a transport; `explain()` tells when a try ended, this also when it began. */
export function watchTransport(
  transport: ClientTransport,
  now: () => number,
  note: (one: Try) => void,
): ClientTransport {
  const attach = transport.attach.bind(transport)
  const probe = transport.probe.bind(transport)
  const begin = () => {
    const one: Try = { transport: transport.name, startedMs: now() }
    note(one)
    return one
  }
  const end = (one: Try, why: string) => {
    if (one.endedMs !== undefined) return
    one.endedMs = now()
    one.why = why
  }
  const follow = (one: Try, open: (handler: LinkHandler) => Link, handler: LinkHandler): Link => {
    const link = open({
      receive(frame) {
        if (frame.header[0] === 'welcome' && one.endedMs === undefined) one.carriesMs ??= now()
        handler.receive(frame)
      },
      drained: () => handler.drained(),
      closed(code, reason, retryAfterMs) {
        end(one, reason || code)
        handler.closed(code, reason, retryAfterMs)
      },
    })
    const close = link.close.bind(link)
    link.close = (code, reason) => {
      end(one, ends[code] ?? reason ?? code)
      close(code, reason)
    }
    return link
  }
  transport.attach = (handshake, handler) =>
    follow(begin(), (watching) => attach(handshake, watching), handler)
  transport.probe = async (handshake, signal) => {
    const one = begin()
    const overtaken = () => end(one, 'no answer while another worked')
    signal.addEventListener('abort', overtaken)
    try {
      const found = await probe(handshake, signal)
      signal.removeEventListener('abort', overtaken)
      return {
        attach: (shake, handler) => follow(one, (watching) => found.attach(shake, watching), handler),
        close() {
          if (one.carriesMs === undefined) end(one, 'it answered, and another was sooner')
          found.close()
        },
      }
    } catch (error) {
      end(one, (error as Error).message)
      throw error
    }
  }
  return transport
}
