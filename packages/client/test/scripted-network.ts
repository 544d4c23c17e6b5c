import {
  frameCount,
  isSessionKind,
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
  /** How long a probe takes, and a welcome. */
  takesMs?: number
  /** Not in this runtime. */
  unsupported?: boolean
}

export type Header = readonly [kind: string, ...fields: unknown[]]

/** A frame that the client has sent on a link of that session. */
export interface Sent {
  session: string
  header: Header
  data: EncodedFrame['data']
  bytes: number
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
  const links = new Set<{ cut(): void; receive(...header: Header): void }>()
  const pings: number[] = []
  const tokens: unknown[] = []
  const sent: Sent[] = []
  const carried: string[] = []
  const welcomes: Record<string, unknown> = {}
  let offers: TransportOffer[] = []
  let sessions = 0
  let isUp = true
  let probing = 0
  let answerTo: (header: Header, number: number) => Header | undefined = () => undefined

  const note = (transport: string, what: Event['what']) => events.push({ at: clock.now(), transport, what })
  const frame = (header: Header): Frame => ({ header, data: undefined, binary: false })

  const transport = (name: string): ClientTransport => {
    const path = paths[name]!
    const open = (handler: LinkHandler, first: () => EncodedFrame) => {
      let over = false
      let isWelcomed = false
      let session = ''
      let number = 0
      let cancelIdle = () => {}
      const close = (code: ErrorCode, reason?: string) => {
        if (over) return
        over = true
        links.delete(link)
        cancelIdle()
        handler.closed(code, reason)
      }
      const receive = (...header: Header) => {
        if (over) return
        cancelIdle()
        if (path.idleMs !== undefined)
          cancelIdle = clock.after(path.idleMs, () => close('link-lost', 'idle for too long'))
        handler.receive(frame(header))
      }
      const answer = ({ head, data, bytes }: EncodedFrame) => {
        const header = parseHeader(head)
        const [kind, fields] = header as [string, Record<string, unknown>]
        if (kind === 'attach') {
          tokens.push(fields.token)
          if (path.refuses) {
            const [code, retryAfterMs] = path.refuses
            receive('refuse', code, '', ...(retryAfterMs === undefined ? [] : [retryAfterMs]))
            return close(code)
          }
          isWelcomed = true
          session = (fields.session as string | undefined) ?? `s${++sessions}`
          carried.push(session)
          const welcome = {
            session,
            ...{ gen: fields.gen, from: (fields.cursor as number) + 1, applied: 0, node: 'n' },
            ...{ userId: null, heartbeatMs: 25_000, resumeWindowMs: 60_000, dedupWindowMs: 120_000 },
            ...{ frameBytes: 65_536, ackFrames: 250, ackBytes: 262_144, transports: offers },
            ...welcomes,
          }
          if (path.takesMs === undefined) receive('welcome', welcome)
          else clock.after(path.takesMs, () => receive('welcome', welcome))
          if (path.diesAfterMs !== undefined) clock.after(path.diesAfterMs, () => close('link-lost', 'cut'))
        } else if (kind === 'ping') {
          if (path.is === 'half') return
          if (isWelcomed) pings.push(clock.now())
          receive('pong', 0)
        } else if (kind === 'hello') {
          if (path.refuses) receive('refuse', ...path.refuses)
          else receive('hello', { nonce: fields.nonce })
        } else {
          sent.push({ session, header, data, bytes })
          number += isSessionKind(kind) ? frameCount(header) : 0
          const said = answerTo(header, number)
          if (said) receive(...said)
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
          let isOver = false
          probing++
          const end = () => {
            if (!isOver) probing--
            isOver = true
          }
          const fail = (why: string) => {
            end()
            reject(new Error(why))
          }
          signal.addEventListener('abort', () => fail('given up'))
          const work = () =>
            resolve({
              attach(handshake, handler) {
                if (isOver) throw new Error('this way was given up')
                end()
                note(name, 'attach')
                return open(handler, () => handshake.attach())
              },
              close: end,
            })
          queueMicrotask(() => {
            if (!isUp || path.is === 'blocked') return fail(`${name} is blocked`)
            if (path.is === 'silent') return
            if (path.takesMs === undefined) work()
            else clock.after(path.takesMs, work)
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
    /** The session of each attach that was let in. */
    carried,
    /** What the client has sent besides attaches, probes and pings. */
    sent,
    /** Stands in every welcome from now on. */
    welcomes,
    /** Answers what the client sends; `number` is the number on its link. Nothing is answered otherwise. */
    answer(next: typeof answerTo) {
      answerTo = next
    },
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
    receive(...header: Header) {
      for (const link of [...links]) link.receive(...header)
    },
    get open() {
      return links.size
    },
    /** Probes that are under way, or have worked and are neither used nor given up. */
    get probing() {
      return probing
    },
    get sessions() {
      return sessions
    },
    /** `attach websocket at 0`, … */
    log: () => events.map(({ at, transport, what }) => `${what} ${transport} at ${at}`),
  }
}
