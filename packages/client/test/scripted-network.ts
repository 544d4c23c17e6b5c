import {
  parseHeader,
  type ClientTransport,
  type EncodedFrame,
  type ErrorCode,
  type Fetch,
  type Frame,
  type Link,
  type LinkHandler,
  type TransportOffer,
} from '@everwire/core'
import type { FakeClock } from '@everwire/testkit'

/** What becomes of one transport on this network. */
export interface Path {
  /** `blocked` fails at once · `silent` opens, and nothing comes back · `half` welcomes, and answers nothing after. */
  is: 'open' | 'blocked' | 'silent' | 'half'
  /** Cuts each link so long after it was welcomed. */
  diesAfterMs?: number
  /** Cuts a link on which nothing came down for so long. */
  idleMs?: number
  /** Attaches and probes are refused with this. */
  refuses?: [code: ErrorCode, retryAfterMs?: number]
  /** Not in this runtime. */
  unsupported?: boolean
}

export interface Event {
  at: number
  transport: string
  what: 'attach' | 'probe' | 'open-session'
}

/**
 * A network and a server as far as negotiation sees them: each link is welcomed into one session, pings are answered,
 * everything at once or as the path says.
 */
export function createScriptedNetwork(clock: FakeClock, paths: Record<string, Path>) {
  const events: Event[] = []
  const links = new Set<{ cut(): void; receive(...header: [string, ...unknown[]]): void }>()
  const pings: number[] = []
  const tokens: unknown[] = []
  let offers: TransportOffer[] = []
  let sessions = 0
  let isUp = true

  const note = (transport: string, what: Event['what']) => events.push({ at: clock.now(), transport, what })
  const frame = (header: [string, ...unknown[]]): Frame => ({ header, data: undefined, binary: false })

  const transport = (name: string): ClientTransport => {
    const path = paths[name]!
    const open = (handler: LinkHandler, first: () => EncodedFrame) => {
      let over = false
      let isWelcomed = false
      let cancelIdle = () => {}
      const close = (code: ErrorCode, reason?: string) => {
        if (over) return
        over = true
        links.delete(link)
        cancelIdle()
        handler.closed(code, reason)
      }
      const receive = (...header: [string, ...unknown[]]) => {
        if (over) return
        cancelIdle()
        if (path.idleMs !== undefined)
          cancelIdle = clock.after(path.idleMs, () => close('link-lost', 'idle for too long'))
        handler.receive(frame(header))
      }
      const answer = ({ head }: EncodedFrame) => {
        const [kind, fields] = parseHeader(head) as [string, Record<string, unknown>]
        if (kind === 'attach') {
          tokens.push(fields.token)
          if (path.refuses) {
            const [code, retryAfterMs] = path.refuses
            receive('refuse', code, '', ...(retryAfterMs === undefined ? [] : [retryAfterMs]))
            return close(code)
          }
          isWelcomed = true
          receive('welcome', {
            session: fields.session ?? `s${++sessions}`,
            ...{ gen: fields.gen, from: (fields.cursor as number) + 1, applied: 0, node: 'n' },
            ...{ userId: null, heartbeatMs: 25_000, resumeWindowMs: 60_000, dedupWindowMs: 120_000 },
            ...{ frameBytes: 65_536, ackFrames: 250, ackBytes: 262_144, transports: offers },
          })
          if (path.diesAfterMs !== undefined) clock.after(path.diesAfterMs, () => close('link-lost', 'cut'))
        } else if (kind === 'ping' && path.is !== 'half') {
          if (isWelcomed) pings.push(clock.now())
          receive('pong', 0)
        } else if (kind === 'hello') {
          if (path.refuses) receive('refuse', ...path.refuses)
          else receive('hello', { nonce: fields.nonce })
        }
      }
      const link = { cut: () => close('link-lost', 'cut'), receive }
      links.add(link)
      queueMicrotask(() => {
        if (!isUp || path.is === 'blocked') return close('link-lost', `${name} is blocked`)
        if (path.is === 'open' || path.is === 'half') answer(first())
      })
      const own: Link = {
        transport: name,
        bufferedBytes: 0,
        send(frames) {
          for (const sent of frames)
            queueMicrotask(() => !over && isUp && path.is !== 'silent' && answer(sent))
          return true
        },
        close,
      }
      return own
    }
    return {
      name,
      supported: () => !path.unsupported,
      attach(handshake, handler) {
        note(name, 'attach')
        return open(handler, () => handshake.attach())
      },
      probe: (_handshake, signal) =>
        new Promise((resolve, reject) => {
          note(name, 'probe')
          let isGivenUp = false
          signal.addEventListener('abort', () => {
            isGivenUp = true
            reject(new Error('given up'))
          })
          queueMicrotask(() => {
            if (!isUp || path.is === 'blocked') return reject(new Error(`${name} is blocked`))
            if (path.is === 'silent') return
            resolve({
              attach(handshake, handler) {
                if (isGivenUp) throw new Error('this way was given up')
                note(name, 'attach')
                return open(handler, () => handshake.attach())
              },
              close() {},
            })
          })
        }),
    }
  }

  const fetch: Fetch = (url) => {
    if (!url.endsWith('/session')) return Promise.reject(new TypeError(`unexpected: ${url}`))
    note('http', 'open-session')
    if (!isUp) return Promise.reject(new TypeError('no network'))
    const body = JSON.stringify({ session: `s${++sessions}`, userId: null, transports: offers })
    return Promise.resolve({
      ok: true,
      status: 200,
      headers: { get: () => null },
      body: null,
      text: () => Promise.resolve(body),
    })
  }

  return {
    events,
    paths,
    /** Times of the pings that attached links answered. */
    pings,
    /** Tokens of the attaches. */
    tokens,
    fetch: fetch as unknown as typeof globalThis.fetch,
    transports: Object.keys(paths).map(transport),
    /** What the server says from now on. */
    offer(next: TransportOffer[]) {
      offers = next
    },
    /** Cuts every link; nothing works until it is up again. */
    get isUp() {
      return isUp
    },
    set isUp(next: boolean) {
      isUp = next
      if (!isUp) for (const link of [...links]) link.cut()
    },
    cut() {
      for (const link of [...links]) link.cut()
    },
    receive(...header: [string, ...unknown[]]) {
      for (const link of [...links]) link.receive(...header)
    },
    get open() {
      return links.size
    },
    get sessions() {
      return sessions
    },
    /** `attach websocket at 0`, … */
    log: () => events.map(({ at, transport, what }) => `${what} ${transport} at ${at}`),
  }
}
