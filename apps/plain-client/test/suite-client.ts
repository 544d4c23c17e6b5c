import { setTimeout as pause } from 'node:timers/promises'
import type { Position } from '@everwire/core'
import type { SuiteChannel, SuiteClient, SuiteClientOptions } from '@everwire/testkit'
import { createPlainClient } from '../plain-client.mjs'

/** What a channel's listener hears: a publication, a gap, or that the server took the subscription back. */
interface News {
  event?: string
  data?: unknown
  position?: Position
  gap?: string
  ended?: string
}

type Listener = (...args: never[]) => void

/** The plain client in the shape that the transport suite drives. */
export function createSuiteClient(options: SuiteClientOptions): SuiteClient {
  const { url, clock, getToken, queueSize, backoffMs, maxBackoffMs, linkTimeoutMs } = options
  const methods = new Map<string, (input: unknown) => unknown>()
  const channels = new Map<string, SuiteChannel>()
  const answer = (name: string, input: unknown) => {
    const method = methods.get(name)
    if (!method) throw Object.assign(new Error(name), { code: 'unknown-method' })
    return method(input)
  }
  let made: ReturnType<typeof createPlainClient> | undefined
  const client = () =>
    (made ??= createPlainClient({
      url,
      transports: options.transports.map(({ name }) => name),
      answer,
      getToken,
      queueSize,
      backoffMs,
      maxBackoffMs,
      linkTimeoutMs,
      timers: clock && {
        setTimeout: (run: () => void, ms: number) => clock.after(ms, run),
        clearTimeout: (cancel?: () => void) => cancel?.(),
      },
    }))
  const createChannel = (name: string): SuiteChannel => {
    const listeners = new Set<[event: string, listener: Listener]>()
    const tell = (event: string, ...args: unknown[]) => {
      for (const [wanted, listener] of listeners)
        if (wanted === event) (listener as (...args: unknown[]) => void)(...args)
    }
    let subscribed = false
    let position: Position | undefined
    const hear = (news: News) => {
      position = news.position ?? position
      if (news.gap) return tell('gap', { reason: news.gap })
      if (news.event !== undefined) {
        tell('*', news.data, news)
        return tell(news.event, news.data, news)
      }
      subscribed = false
      tell('unsubscribed', { code: news.ended })
    }
    return {
      get subscribed() {
        return subscribed
      },
      get position() {
        return position
      },
      on(event: string, listener: Listener) {
        const entry: [string, Listener] = [event, listener]
        listeners.add(entry)
        return () => listeners.delete(entry)
      },
      async subscribe(from = {}) {
        position = (await client().subscribe(name, hear, from.position)) as Position | undefined
        subscribed = true
      },
      async unsubscribe() {
        subscribed = false
        await client().unsubscribe(name)
      },
      publish: (event, data, { id } = {}) => client().publish(name, event, data, id),
    }
  }
  return {
    get state() {
      const { closed, transport } = client().status()
      return closed ? 'closed' : transport ? 'connected' : 'reconnecting'
    },
    get transport() {
      return client().status().transport
    },
    get userId() {
      return client().status().userId
    },
    connect: () => void client(),
    close: () => made?.close(),
    channel(name) {
      const channel = channels.get(name) ?? createChannel(name)
      channels.set(name, channel)
      return channel
    },
    request: (method, input, { timeoutMs } = {}) => client().request(method, input, timeoutMs),
    method(name, method) {
      methods.set(name, method)
      return () => methods.delete(name)
    },
    async switchTo(transport) {
      void client().switchTo(transport)
      while (client().status().transport !== transport) await pause(1)
    },
    async ping() {
      const started = performance.now()
      await client().request('echo')
      return performance.now() - started
    },
    on: () => () => {},
    stats: () => ({ received: 0, sent: 0, open: 0, ...client().status() }),
  }
}
