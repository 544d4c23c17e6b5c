import {
  encodeData,
  encodeFrame,
  createOwnerSession,
  type OwnerSession,
  type ClientTransport,
  type EncodedFrame,
  type Frame,
  type Position,
} from '@everwire/core'
import { createLinkPair, type FakeClock } from '@everwire/testkit'
import type { Page } from './browser.js'

interface Stored {
  offset: number
  event: string
  data: Frame['data']
}

interface History {
  epoch: string
  stored: Stored[]
  /** What was removed lies at or below. */
  first: number
  last: number
  ids: Map<string, number>
}

interface Subscription {
  position: number
  live: boolean
}

interface ServerSession {
  id: string
  userId: string | null
  core: OwnerSession
  page: Page
  channels: Map<string, Subscription>
  cut(): void
  /** Every frame that came, as kind and channel. */
  asked: string[]
}

export interface FakeServer {
  /** Those that have a link. */
  sessions(): ServerSession[]
  /** Who a token is. */
  users: Map<string, string | null>
  publish(channel: string, data: unknown): number
  /** Forgets what lies at or below an offset. */
  expire(channel: string, offset: number): void
  /** Begins a channel anew. */
  restart(channel: string): void
  /** Takes all subscriptions of a channel back. */
  revoke(channel: string, code: string): void
  /** Refuses to let a channel be read, with this code. */
  denied: Map<string, string>
  /** Questions who this is. */
  asked: number
  /** The answer to that question fails. */
  whoFails: boolean
  transport(page: Page): ClientTransport
  fetch(page: Page): typeof globalThis.fetch
}

/** A server with the rules of the real one, in memory: `hist:*` has history, `live:*` has not, `@me` is the user's. */
export function createServer(clock: FakeClock, random: () => number): FakeServer {
  const sessions = new Set<ServerSession>()
  const histories = new Map<string, History>()
  let ids = 0
  let runNumber = 0
  const previousOf = new Map<string, number>()
  const soon = (run: () => void) => void clock.after(random() * 4, run)

  const historyOf = (channel: string) => {
    let history = histories.get(channel)
    if (!history)
      histories.set(channel, (history = { epoch: 'e1', stored: [], first: 0, last: 0, ids: new Map() }))
    return history
  }
  const isLive = (channel: string) => channel.startsWith('live:')
  const keyOf = ({ userId }: ServerSession, channel: string) =>
    channel === '@me' ? `@user:${userId}` : channel
  const send = (session: ServerSession, ...args: Parameters<typeof encodeFrame>) => {
    if (!session.core.ended) session.core.send(encodeFrame(...args))
  }
  const readers = (key: string) =>
    [...sessions].flatMap((session) => {
      const name = [...session.channels.keys()].find((one) => keyOf(session, one) === key)
      return name ? [{ session, name, subscription: session.channels.get(name)! }] : []
    })
  const item = (
    name: string,
    { offset, event, data }: Stored,
    previous: number,
  ): Parameters<typeof encodeFrame> => [['m', name, event, offset, previous], data]

  const store = (key: string, event: string, data: Frame['data'], id?: string): number => {
    if (isLive(key)) {
      runNumber++
      const previous = previousOf.get(key) ?? 0
      previousOf.set(key, runNumber)
      for (const { session, name } of readers(key))
        send(session, ['m', name, event, 'run', runNumber, previous], data)
      return 0
    }
    const history = historyOf(key)
    const known = id === undefined ? undefined : history.ids.get(id)
    if (known !== undefined) return known
    const offset = history.last + 1 + Math.floor(random() * 3)
    history.stored.push({ offset, event, data })
    history.last = offset
    if (id !== undefined) history.ids.set(id, offset)
    for (const { session, name, subscription } of readers(key))
      if (subscription.live && offset > subscription.position) {
        send(session, ...item(name, history.stored.at(-1)!, subscription.position))
        subscription.position = offset
      }
    return offset
  }

  /** One publication at a time, so that a replay can be cut short. */
  const catchUp = (session: ServerSession, name: string, subscription: Subscription) => {
    if (session.channels.get(name) !== subscription || session.core.ended) return
    const history = historyOf(keyOf(session, name))
    if (subscription.position >= history.last) return void (subscription.live = true)
    if (subscription.position < history.first) {
      send(session, ['gap', name, 'expired', history.epoch, history.first])
      subscription.position = history.first
    }
    const next = history.stored.find(({ offset }) => offset > subscription.position)
    if (next) {
      send(session, ...item(name, next, subscription.position))
      subscription.position = next.offset
    }
    soon(() => catchUp(session, name, subscription))
  }

  const operation = async (session: ServerSession, frame: Frame, number: number) => {
    const [kind, name, a, b] = frame.header as [string, string, unknown, unknown]
    session.asked.push(`${kind} ${name}`)
    await new Promise<void>(soon)
    const execute = () => {
      if (session.core.ended) return
      if (kind === 'req') return send(session, ['reply', number], frame.data, { binary: frame.binary })
      const key = keyOf(session, name)
      const denied = server.denied.get(name)
      if (denied && kind === 'sub') return send(session, ['err', number, denied, 'denied'])
      if (kind === 'unsub') {
        session.channels.delete(name)
        return send(session, ['ack', number])
      }
      if (kind === 'pub') {
        const offset = store(key, a as string, frame.data, b as string)
        const { epoch } = historyOf(key)
        return send(session, ['ack', number, ...(isLive(key) ? [] : [epoch, offset])])
      }
      const subscription: Subscription = { position: 0, live: true }
      session.channels.set(name, subscription)
      if (isLive(key)) return send(session, ['ack', number])
      const history = historyOf(key)
      const from = a === undefined ? undefined : ({ epoch: a, offset: b } as Position)
      const isKnown = !from || (from.epoch === history.epoch && from.offset <= history.last)
      subscription.position = from && isKnown ? from.offset : history.last
      send(session, ['ack', number, history.epoch, subscription.position])
      if (!isKnown) return send(session, ['gap', name, 'epoch', history.epoch, history.last])
      subscription.live = subscription.position === history.last
      if (!subscription.live) soon(() => catchUp(session, name, subscription))
    }
    execute()
  }

  // The lanes of a session, so that one waits for what came before it.
  const open = (page: Page, userId: string | null): ServerSession => {
    let turn = Promise.resolve()
    const session: ServerSession = {
      id: `s${++ids}`,
      userId,
      page,
      channels: new Map(),
      asked: [],
      cut() {},
      core: createOwnerSession(
        { outboxFrames: 100_000, outboxBytes: 1e9 },
        {
          frame: (frame, number) => {
            if (['reply', 'err'].includes(frame.header[0]))
              return void session.asked.push(`${frame.header[0]}`)
            turn = turn.then(() => operation(session, frame, number))
          },
          ended: () => sessions.delete(session),
        },
      ),
    }
    sessions.add(session)
    return session
  }

  const server: FakeServer = {
    sessions: () => [...sessions].filter(({ core }) => core.link),
    users: new Map(),
    denied: new Map(),
    asked: 0,
    whoFails: false,
    publish: (channel, data) => store(channel, 'n', encodeData(data).data),
    expire(channel, offset) {
      const history = historyOf(channel)
      history.first = Math.max(...history.stored.map((one) => one.offset).filter((one) => one <= offset))
      history.stored = history.stored.filter((one) => one.offset > offset)
    },
    restart(channel) {
      const { last } = historyOf(channel)
      const history = { epoch: 'e2', stored: [], first: 0, last: Math.floor(last / 2), ids: new Map() }
      histories.set(channel, history)
      for (const { session, name, subscription } of readers(channel)) {
        subscription.position = history.last
        subscription.live = true
        send(session, ['gap', name, 'epoch', 'e2', history.last])
      }
    },
    revoke(channel, code) {
      for (const { session, name } of readers(channel)) {
        session.channels.delete(name)
        send(session, ['unsub', name, code])
      }
    },
    fetch: (page) => async (_url, init) => {
      await new Promise<void>((resolve) => void page.clock.after(random() * 4, resolve))
      if (!page.alive || server.whoFails) throw new TypeError('no network')
      server.asked++
      const { token, open } = JSON.parse(init!.body as string) as { token?: string; open?: boolean }
      const body = { userId: server.users.get(token ?? '') ?? null, transports: [] }
      // No real one: its body comes by turns of the real loop.
      return { ok: open === false, text: async () => JSON.stringify(body) } as Response
    },
    transport(page) {
      const transport: ClientTransport = {
        name: 'memory',
        supported: () => true,
        probe: async () => ({ attach: transport.attach, close() {} }),
        attach(handshake, handler) {
          const pair = createLinkPair({ schedule: (run) => void page.clock.after(random() * 4, run) })
          pair.client.listen({
            receive: (frame) => page.alive && handler.receive(frame),
            drained: () => handler.drained(),
            closed: (code, reason) => page.alive && handler.closed(code, reason),
          })
          let session: ServerSession | undefined
          pair.server.listen({
            receive: (frame) => {
              if (session) return session.core.receive(pair.server, frame)
              if (frame.header[0] !== 'attach') return
              const {
                gen,
                token,
                cursor,
                session: id,
              } = frame.header[1] as {
                gen: number
                token?: string
                cursor: number
                session?: string
              }
              session = [...sessions].find((one) => one.id === id)
              if (id && !session) return pair.server.close('unknown-session')
              session ??= open(page, server.users.get(token ?? '') ?? null)
              session.cut = () => pair.server.close('link-lost')
              session.core.acknowledge(cursor)
              const welcome: EncodedFrame = encodeFrame([
                'welcome',
                {
                  ...{
                    session: session.id,
                    gen,
                    from: cursor + 1,
                    applied: session.core.received,
                    node: 'n',
                  },
                  ...{ userId: session.userId, heartbeatMs: 25_000, resumeWindowMs: 60_000 },
                  ...{ dedupWindowMs: 120_000, frameBytes: 65_536, ackFrames: 250, ackBytes: 262_144 },
                  transports: [],
                },
              ])
              pair.server.send([welcome])
              session.core.bind(pair.server, { receiveFrom: session.core.received + 1, sendFrom: cursor + 1 })
            },
            drained: () => session?.core.drained(pair.server),
            closed: () => session?.core.unbind(pair.server),
          })
          pair.client.send([handshake.attach()])
          return pair.client
        },
      }
      return transport
    },
  }
  return server
}
