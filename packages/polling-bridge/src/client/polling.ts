import type { Off } from '@everwire/client'
import { EverwireError, systemClock, type Clock } from '@everwire/core'
import type { Mode } from '../change.js'
import { createClients, type ClientSource } from './clients.js'
import { createListeners, tell } from './listeners.js'
import { createPoller, type Drift, type Poller, type PollState } from './poller.js'
import { request, type Headers, type Resource } from './request.js'

/** The part of `document` that is used. */
export interface Page {
  readonly visibilityState: string
  readonly location?: { readonly href: string } | null
  addEventListener(type: 'visibilitychange', listener: () => void): void
  removeEventListener(type: 'visibilitychange', listener: () => void): void
}

export interface PollingOptions {
  /**
   * What live channels are read with; never closed by this.
   * @default one of its own, loaded when the first answer announces a channel, for the server that it announces
   */
  client?: ClientSource['client']
  /** For the client of its own. @default the bearer token of `headers` */
  getToken?: ClientSource['getToken']
  /** Sent with each poll, and by the client of its own with each HTTP request; a function is asked each time. */
  headers?: Headers
  /** @default the runtime's, as it is at each poll */
  fetch?: typeof globalThis.fetch
  /** At most this is asked for; told to the server only when it is set. @default 'live' */
  mode?: Mode
  /** How often the route is asked while live; 10 % more or less. @default 300000 */
  auditMs?: number
  /** A poll that takes longer has failed. @default 10000 */
  timeoutMs?: number
  /** Most of the random wait before the route is asked for what a publication did not tell. @default 100 */
  refetchMs?: number
  /** @default the system's */
  clock?: Clock
  /** 0 ≤ x < 1. @default Math.random */
  random?: () => number
  /** Says whether the page is shown. @default document, where there is one */
  page?: Page
}

export interface ReadOptions<Data> {
  /** Absolute, or of the page's own. */
  url: string
  /** Polls of one key share one timer, one request and one subscription, those of the first. @default the absolute URL, and headers and credentials of `init` */
  key?: string
  /** As for `fetch`: `credentials`, headers of this one … */
  init?: Resource['init']
  /** Reads an answer. @default its JSON */
  parse?: (response: Response) => Data | Promise<Data>
}

export interface PollOptions<Data> extends ReadOptions<Data> {
  /** From the start of one poll to that of the next, in milliseconds; the smallest of a key counts. */
  intervalMs: number
  /** Called with the first answer and whenever the data is another. */
  onData?: (data: Data) => void
  /** Called for each poll that failed. */
  onError?: (error: EverwireError) => void
}

export type PollEvents<Data> = {
  data: (data: Data) => void
  error: (error: EverwireError) => void
  state: (state: PollState) => void
  /** While live, the route answered something that was not published: a writer tells nobody. */
  drift: (drift: Drift) => void
  /** The server refuses the live channel: it goes on polling, and tries again later. */
  refused: (error: EverwireError) => void
}

export interface Poll<Data> {
  readonly state: PollState
  /** Undefined before the first answer. */
  readonly data: Data | undefined
  /** Polls that failed since the last one that did not. */
  readonly failures: number
  /** Asks now; resolves with what is known after the answer. It need not be waited for. */
  refresh(): Promise<Data>
  on<Name extends keyof PollEvents<Data>>(event: Name, listener: PollEvents<Data>[Name]): Off
  /** Safe to call twice. */
  close(): void
}

export interface Polling {
  /** Stands in for `setInterval` and `fetch`. @throws TypeError when an option is wrong */
  poll<Data = unknown>(options: PollOptions<Data>): Poll<Data>
  /** Asks once, sharing the request and the state of a poll of the same key. Rejects with an EverwireError. */
  read<Data = unknown>(options: string | ReadOptions<Data>): Promise<Data>
  /** Ends all polls, and the client if it is its own. */
  close(): void
}

/** What a page polls with; one for a page. */
export function createPolling(options: PollingOptions = {}): Polling {
  const {
    clock = systemClock,
    random = Math.random,
    auditMs = 300_000,
    timeoutMs = 10_000,
    refetchMs = 100,
    page = (globalThis as { document?: Page }).document,
    mode,
    headers,
    fetch,
  } = options
  const location = page?.location ?? (globalThis as { location?: { href: string } }).location
  const origin = location && originOf(location.href)
  const pollers = new Map<string, Poller>()
  const clients = createClients({ ...options, clock })
  let closed = false

  const see = () => {
    for (const poller of [...pollers.values()]) poller.seen()
  }
  page?.addEventListener('visibilitychange', see)

  const open = ({ url: given, key, init, parse }: ReadOptions<never>): Poller => {
    if (closed) throw new EverwireError('closed', 'polling is closed')
    const url = absolute(given, location?.href)
    const name = key ?? nameOf(url, init)
    const known = pollers.get(name)
    if (known) return known
    const poller = createPoller({
      clock,
      random,
      auditMs,
      refetchMs,
      request: (known, signal) =>
        request({ url, init, parse }, known, { fetch, headers, mode, timeoutMs, clock, origin }, signal),
      lease: mode === undefined || mode === 'live' ? clients.lease : undefined,
      isHidden: () => page?.visibilityState === 'hidden',
      ended: () => {
        if (pollers.get(name) === poller) pollers.delete(name)
      },
    })
    pollers.set(name, poller)
    return poller
  }

  return {
    poll<Data>(options: PollOptions<Data>): Poll<Data> {
      const { intervalMs, onData, onError } = options
      if (!(intervalMs > 0 && intervalMs < Infinity))
        throw new TypeError(`poll: intervalMs must be a positive number: ${intervalMs}`)
      const { on, emit } = createListeners<PollEvents<Data>>()
      const poller = open(options as ReadOptions<never>)
      let left = false
      const end = poller.join({
        intervalMs,
        data(data) {
          tell(onData, data as Data)
          if (!left) emit('data', data as Data)
        },
        error(error) {
          tell(onError, error)
          emit('error', error)
        },
        state: (state) => emit('state', state),
        drift: (drift) => emit('drift', drift),
        refused: (error) => emit('refused', error),
      })
      const leave = () => {
        left = true
        end()
      }
      return {
        get state() {
          return poller.state
        },
        get data() {
          return poller.data as Data | undefined
        },
        get failures() {
          return poller.failures
        },
        refresh: () =>
          quiet(
            left
              ? Promise.reject(new EverwireError('closed', 'the poll is closed'))
              : (poller.read(true) as Promise<Data>),
          ),
        on,
        close: leave,
      }
    },
    read: <Data>(options: string | ReadOptions<Data>) => {
      const resource = typeof options === 'string' ? { url: options } : options
      return quiet(
        Promise.resolve().then(() => open(resource as ReadOptions<never>).read(false)) as Promise<Data>,
      )
    },
    close() {
      if (closed) return
      closed = true
      page?.removeEventListener('visibilitychange', see)
      for (const poller of [...pollers.values()]) poller.close()
      clients.close()
    },
  }
}

/** Who does not wait for it need not hear of its failure. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

function absolute(url: string, base: string | undefined): string {
  try {
    return new URL(url, base).href
  } catch {
    throw new TypeError(`poll: url must be absolute outside a browser: ${url}`)
  }
}

/** Two that ask for the same with other headers, such as credentials, are two. */
const nameOf = (url: string, init: Resource['init']): string =>
  JSON.stringify([url, [...new globalThis.Headers(init?.headers)], init?.credentials])

function originOf(href: string): string | undefined {
  const { origin } = new URL(href)
  // Of a file, or a page inside a page.
  return origin === 'null' ? undefined : origin
}
