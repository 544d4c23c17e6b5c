import type { Channel, Client, ConnectionState, PublicationMeta } from '@everwire/client'
import { EverwireError, type ErrorCode, type Position } from '@everwire/core'
import { createFakeClock } from '@everwire/testkit'
import type { Test } from 'tap'
import { formatLink, type Revision } from '../src/announcement.js'
import { createPolling, type Page, type PollingOptions, type PollOptions } from '../src/client.js'

export const url = 'https://app.example/api/orders'
export const name = 'orders:all'
const at = (offset: number): Position => ({ epoch: 'e', offset })

/** A request that waits for its answer. */
export interface Asked {
  url: string
  init: RequestInit
  header(name: string): string | null
  /** Answers as the server half does; without an offset it announces nothing. */
  answer(
    data: unknown,
    offset?: number,
    also?: { revision?: Revision; channel?: string; etag?: string },
  ): void
  unchanged(offset?: number, revision?: Revision, channel?: string): void
  status(status: number, headers?: Record<string, string>): void
  respond(response: Response): void
  fail(error: Error): void
}

const linkOf = (offset: number | undefined, revision: Revision, channel = name): Record<string, string> =>
  offset === undefined
    ? {}
    : {
        link: formatLink({
          channel,
          position: at(offset),
          revision,
          href: `/everwire/channels/${encodeURIComponent(channel)}`,
        }),
      }

/** Answers that a test gives by hand. */
export function scriptedFetch() {
  const asked: Asked[] = []
  const fetch = ((input: string, init: RequestInit) =>
    new Promise<Response>((resolve, reject) => {
      init.signal!.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')))
      asked.push({
        url: input,
        init,
        header: (header) => new Headers(init.headers).get(header),
        answer(
          data,
          offset,
          {
            revision = `r${JSON.stringify(data)}`,
            channel,
            etag = `W/"${encodeURIComponent(revision)}"`,
          } = {},
        ) {
          const headers = { ...linkOf(offset, revision, channel), ...(etag && { etag }) }
          resolve(new Response(JSON.stringify(data), { headers }))
        },
        unchanged: (offset, revision = '', channel) =>
          resolve(new Response(null, { status: 304, headers: linkOf(offset, revision, channel) })),
        status: (status, headers = {}) => resolve(new Response('no', { status, headers })),
        respond: resolve,
        fail: reject,
      })
    })) as typeof globalThis.fetch
  return { fetch, asked }
}

/** A channel whose server is the test. */
function scriptedChannel(channelName: string) {
  const listeners = new Map<string, Set<(...args: never[]) => void>>()
  let settle: { resolve(): void; reject(error: Error): void }[] = []
  const log: string[] = []
  const emit = (event: string, ...args: unknown[]) => {
    for (const listener of [...(listeners.get(event) ?? [])]) listener(...(args as never[]))
  }
  let kept: { data: unknown; meta: PublicationMeta } | undefined
  const state = { subscribed: false, position: undefined as Position | undefined, from: undefined as unknown }
  const channel = {
    name: channelName,
    get subscribed() {
      return state.subscribed
    },
    get position() {
      return state.position
    },
    on(event: string, listener: (...args: never[]) => void) {
      if (!listeners.has(event)) listeners.set(event, new Set())
      listeners.get(event)!.add(listener)
      return () => listeners.get(event)!.delete(listener)
    },
    subscribe: ({ position }: { position?: Position } = {}) =>
      new Promise<void>((resolve, reject) => {
        if (state.subscribed) return resolve()
        log.push(`subscribe ${position?.offset}`)
        state.position = position
        settle.push({ resolve, reject })
      }),
    async unsubscribe() {
      log.push('unsubscribe')
      state.subscribed = false
      state.position = undefined
    },
    publish: () => Promise.reject(new Error('not here')),
    history: () => Promise.resolve({ publications: kept ? [kept] : [], more: false }),
  } as unknown as Channel
  return {
    channel,
    log,
    listening: () => [...listeners.values()].reduce((sum, set) => sum + set.size, 0),
    accept(offset?: number) {
      state.subscribed = true
      if (offset !== undefined) state.position = at(offset)
      for (const { resolve } of settle) resolve()
      settle = []
      emit('subscribed')
    },
    refuse(code: ErrorCode) {
      state.position = undefined
      const waiting = settle
      settle = []
      for (const { reject } of waiting) reject(new EverwireError(code))
    },
    revoke(code: ErrorCode) {
      state.subscribed = false
      state.position = undefined
      emit('unsubscribed', { code })
    },
    /** As a node that is short of time takes it back: nobody is told. */
    pause: () => (state.subscribed = false),
    gap: () => emit('gap', { reason: 'expired' }),
    keep: (data: unknown, offset: number) =>
      (kept = { data, meta: { channel: channelName, event: 'set', position: at(offset) } }),
    publish(event: string, data: unknown, offset: number) {
      state.position = at(offset)
      const meta = { channel: channelName, event, position: at(offset) }
      emit(event, data, meta)
      emit('*', data, meta)
    },
    snapshot(from: unknown, to: unknown, offset: number) {
      const revision = (data: unknown) => (data === null ? null : `r${JSON.stringify(data)}`)
      this.publish('snapshot', { from: revision(from), to: revision(to), data: to }, offset)
    },
  }
}

function scriptedClient() {
  const channels = new Map<string, ReturnType<typeof scriptedChannel>>()
  const listeners = { state: new Set<(change: never) => void>(), stale: new Set<(change: never) => void>() }
  const facts = {
    state: 'connected' as ConnectionState,
    stale: false,
    userId: 'ann' as string | null,
    closed: 0,
  }
  const scripted = (channelName: string) => {
    let channel = channels.get(channelName)
    if (!channel) channels.set(channelName, (channel = scriptedChannel(channelName)))
    return channel
  }
  const client = {
    get state() {
      return facts.state
    },
    get stale() {
      return facts.stale
    },
    get userId() {
      return facts.userId
    },
    channel: (channelName: string) => scripted(channelName).channel,
    on(event: 'state' | 'stale', listener: (change: never) => void) {
      listeners[event].add(listener)
      return () => listeners[event].delete(listener)
    },
    close: () => facts.closed++,
  } as unknown as Client
  return {
    client,
    facts,
    channel: scripted,
    set(state: ConnectionState) {
      facts.state = state
      for (const listener of [...listeners.state]) listener({ state } as never)
    },
    setStale(stale: boolean) {
      facts.stale = stale
      for (const listener of [...listeners.stale]) listener({ stale } as never)
    },
    listening: () => listeners.state.size + listeners.stale.size,
  }
}

export function scriptedPage(href = 'https://app.example/orders') {
  const listeners = new Set<() => void>()
  const page = {
    visibilityState: 'visible',
    location: { href },
    addEventListener: (_type: string, listener: () => void) => listeners.add(listener),
    removeEventListener: (_type: string, listener: () => void) => listeners.delete(listener),
  }
  return {
    page: page as Page,
    listening: () => listeners.size,
    show(isShown: boolean) {
      page.visibilityState = isShown ? 'visible' : 'hidden'
      for (const listener of [...listeners]) listener()
    },
  }
}

/** A page in which the test owns the time, the network and the chance, which is always one half. */
export function world(t: Test, options: PollingOptions = {}) {
  const clock = createFakeClock({ startMs: 1_000_000 })
  const network = scriptedFetch()
  const client = scriptedClient()
  const page = scriptedPage()
  const polling = createPolling({
    ...{ clock, fetch: network.fetch, client: client.client, page: page.page, random: () => 0.5 },
    ...options,
  })
  t.teardown(() => polling.close())
  let taken = 0
  return {
    clock,
    client,
    page,
    polling,
    channel: client.channel(name),
    asked: network.asked,
    /** The next request, which must have been made. */
    next(): Asked {
      const one = network.asked[taken++]
      if (!one) throw new Error('nothing was asked')
      return one
    },
    idle: () => network.asked.length === taken,
    start(poll: Partial<PollOptions<unknown>> = {}) {
      const shown: unknown[] = []
      const errors: string[] = []
      const events: string[] = []
      const orders = polling.poll({
        url,
        intervalMs: 5_000,
        ...poll,
        onData: (data) => shown.push(data),
        onError: (error) => errors.push(error.code),
      })
      orders.on('state', (state) => events.push(state))
      orders.on('drift', ({ revision }) => events.push(`drift ${revision}`))
      orders.on('refused', ({ code }) => events.push(`refused ${code}`))
      return { orders, shown, errors, events }
    },
  }
}
