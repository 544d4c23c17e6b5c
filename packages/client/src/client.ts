import {
  codeOf,
  decodeData,
  encodeData,
  encodeFrame,
  EverwireError,
  randomBase32,
  systemClock,
  type ClientTransport,
  type Clock,
  type Contract,
  type EncodedFrame,
  type Fetch,
  type Frame,
} from '@everwire/core'
import * as defaults from '@everwire/core/limits'
import { createChannel, type Channel, type ChannelEnd, type ChannelHost } from './channel.js'
import type {
  CarriedSession,
  Carrier,
  CarrierHandler,
  CarrierStats,
  ConnectionState,
  Explanation,
} from './carrier.js'
import { createConnector } from './connector.js'
import type { TypedClient } from './contract.js'
import { createEmitter, type Off } from './emitter.js'
import { createLateCarrier } from './late-carrier.js'
import type { TransportMemory } from './negotiator.js'
import { createOperations } from './operations.js'
import type { StoredQueue } from './stored-queue.js'
import type { TabEnvironment } from './tabs/environment.js'

export interface ClientOptions {
  /** Address that the server's prefix stands under: absolute, or a path of the page's own origin. */
  url: string
  /** The client halves of the transports, the best first. */
  transports: readonly ClientTransport[]
  /** Called at the first connect and whenever the server says that the token has expired. */
  getToken?: () => string | undefined | Promise<string | undefined>
  /** Sent with every HTTP request; a browser's WebSocket cannot carry any. */
  headers?: Readonly<Record<string, string>>
  /** @default the runtime's */
  fetch?: typeof globalThis.fetch
  /** An attempt must be welcomed within this; it doubles with each round that fails. @default 2000 */
  linkTimeoutMs?: number
  /** The next transport is tried beside one that has not answered for so long. @default 1000 */
  staggerMs?: number
  /** Where it is kept which transports work; false for nowhere. @default localStorage in a page, else nowhere */
  memory?: TransportMemory | false
  /** How long that counts. @default 86400000 */
  memoryMs?: number
  /** First ceiling of the full-jitter backoff. @default 500 */
  backoffMs?: number
  /** Highest ceiling of the backoff. @default 20000 */
  maxBackoffMs?: number
  /** How often a better transport is tried, on average. @default 30000 */
  upgradeIntervalMs?: number
  /** How long a publication may wait and be retried. @default 30000 */
  publishTimeoutMs?: number
  /** How long a request waits for its reply, once it is sent. @default 10000 */
  requestTimeoutMs?: number
  /** Operations that may wait or be unanswered. @default 1000 */
  queueSize?: number
  /** Bytes of those. @default 1048576 */
  queueBytes?: number
  /** Keeps publications without an answer over reloads. @default none does */
  queueStore?: StoredQueue
  /**
   * All tabs of this origin and user share one connection, where the browser has Web Locks and BroadcastChannel. An
   * object stands for the browser's. @default false
   */
  shareTabs?: boolean | TabEnvironment
  /** @default the system's */
  clock?: Clock
  /** 0 ≤ x < 1, for jitter. @default Math.random */
  random?: () => number
}

/** Answers a request of the server. What it throws goes back if it is an EverwireError, else as `internal`. */
export type ClientMethod = (input: unknown) => unknown

export type ClientEvents = {
  /** The connection changed its state; `error` says why. */
  state: (change: { state: ConnectionState; transport: string | undefined; error?: EverwireError }) => void
  /** The node at the other end is cut off from the others, so that what they publish does not come; or no longer. */
  stale: (change: { stale: boolean }) => void
}

export interface ClientStats extends CarrierStats {
  /** Operations without an answer. */
  open: number
}

export interface Client {
  readonly state: ConnectionState
  /** Name of the transport at hand. */
  readonly transport: string | undefined
  /** The node at the other end is cut off from the others: what they publish may come late. */
  readonly stale: boolean
  /** Who the server says this is; undefined before the first welcome. */
  readonly userId: string | null | undefined
  /** Opens the connection; channels, publications and requests do so by themselves. */
  connect(): void
  /** Ends the session. What is unanswered rejects as `closed`. */
  close(): void
  /** The channel of that name. @throws EverwireError `invalid-channel` */
  channel(name: string): Channel
  /** Asks the server. Rejects with its error, `timeout`, or `outcome-unknown` when the session was lost. */
  request(method: string, input?: unknown, options?: { timeoutMs?: number }): Promise<unknown>
  /** Answers requests of the server. Returns its own undo. */
  method(name: string, method: ClientMethod): Off
  /** Moves to another transport without a loss; rejects, with all as it was, when that does not work. */
  switchTo(transport: string): Promise<void>
  /** Milliseconds to the server and back over the link at hand. */
  ping(): Promise<number>
  on<Name extends keyof ClientEvents>(event: Name, listener: ClientEvents[Name]): Off
  explain(): Explanation
  stats(): ClientStats
}

/**
 * A client; `createClient<typeof contract>` knows the channels, events and methods of a contract.
 * @throws TypeError when an option is wrong, naming it
 */
export function createClient(options: ClientOptions): Client
export function createClient<C extends Contract>(options: ClientOptions): TypedClient<C>
export function createClient(options: ClientOptions): Client {
  if (!options.transports.length) throw new TypeError('createClient: transports must name at least one')
  const settings = {
    ...clientDefaults,
    memory: pageStorage(),
    ...given(options),
    url: resolveUrl(options.url),
    fetch: (options.fetch ?? globalThis.fetch.bind(globalThis)) as Fetch,
  }
  const { clock, publishTimeoutMs, requestTimeoutMs } = settings

  const { on, emit } = createEmitter<ClientEvents>()
  const channels = new Map<string, ChannelEnd>()
  const methods = new Map<string, ClientMethod>()
  const operations = createOperations(settings)
  const idPrefix = randomBase32(12)
  let ids = 0

  let session: CarriedSession | undefined
  let user: string | null | undefined
  let limit = 0
  const handler: CarrierHandler = {
    state(state, error) {
      if (state === 'closed') {
        operations.close(error!)
        for (const channel of channels.values()) channel.close(error!)
      }
      emit('state', { state, transport: carrier.transport, ...(error && { error }) })
    },
    began(begun, limits) {
      session = begun
      limit = limits.frameBytes
      const { userId } = carrier
      if (user !== undefined && user !== userId) {
        // What one user has asked for is not done in the name of another.
        operations.reject(new EverwireError('outcome-unknown', 'the user is another'))
        for (const channel of channels.values()) channel.forget()
      }
      user = userId
      for (const channel of channels.values()) channel.begin()
      operations.begin(begun, limits)
    },
    lost() {
      session = undefined
      for (const channel of channels.values()) channel.lost()
      operations.lost()
    },
    stale: (stale) => emit('stale', { stale }),
    frame(frame, number) {
      if (operations.answered(frame)) return
      const [kind, name] = frame.header as [string, string]
      if (kind === 'req') void answer(name, frame, number)
      else channels.get(name)?.receive(frame)
    },
  }
  const { shareTabs } = settings
  const own = createConnector(settings, handler)
  const carrier: Carrier = shareTabs
    ? createLateCarrier(
        own,
        import('./tabs/tab-carrier.js').then(({ createTabCarrier }) =>
          createTabCarrier(
            {
              ...settings,
              connect: (to) => createConnector(settings, to),
              environment: shareTabs === true ? undefined : shareTabs,
            },
            handler,
          ),
        ),
      )
    : own

  const answer = async (name: string, frame: Frame, number: number) => {
    const asked = session!
    let reply: EncodedFrame
    try {
      const method = methods.get(name)
      if (!method) throw new EverwireError('unknown-method', name)
      const { data, binary } = encodeData(await method(decodeData(frame)))
      reply = encodeFrame(['reply', number], data, { binary })
      if (reply.bytes > limit) throw new EverwireError('frame-too-large', `${reply.bytes} bytes`)
    } catch (error) {
      const message = error instanceof EverwireError ? error.message : 'the client failed'
      reply = encodeFrame(['err', number, codeOf(error), message])
    }
    try {
      // An answer belongs to the session that was asked.
      if (!asked.ended) asked.send(reply)
    } catch {
      // No room for answers: the server stops waiting by itself.
    }
  }

  const { connect, stats } = carrier
  const request: Client['request'] = async (method, input, { timeoutMs = requestTimeoutMs } = {}) => {
    const { data, binary } = encodeData(input)
    connect()
    return decodeData(
      await operations.run(encodeFrame(['req', method, timeoutMs], data, { binary }), { timeoutMs }),
    )
  }
  const host: ChannelHost = {
    clock,
    operations,
    publishTimeoutMs,
    get ready() {
      return session !== undefined
    },
    connect,
    request,
    nextId: () => `${idPrefix}.${++ids}`,
  }

  // Onto the carrier, whose accessors stay as they are.
  return Object.assign(carrier, {
    channel(name: string) {
      // The mistakes that are made; the server knows the whole grammar, and refuses what else is no name.
      if (!/^(@me|[^:]+:[^]*[^:])$/.test(name))
        throw new EverwireError('invalid-channel', 'not namespace:rest')
      let channel = channels.get(name)
      if (!channel) channels.set(name, (channel = createChannel(name, host)))
      return channel
    },
    request,
    method(name: string, method: ClientMethod) {
      if (methods.has(name)) throw new TypeError(`method ${name} is registered already`)
      methods.set(name, method)
      return () => methods.delete(name)
    },
    on,
    stats: () => ({ ...stats(), open: operations.size }),
  })
}

const clientDefaults = {
  clock: systemClock,
  random: Math.random,
  headers: {},
  linkTimeoutMs: defaults.linkTimeoutMs,
  staggerMs: defaults.staggerMs,
  memoryMs: defaults.memoryMs,
  backoffMs: defaults.backoffMs,
  maxBackoffMs: defaults.maxBackoffMs,
  upgradeIntervalMs: defaults.upgradeIntervalMs,
  publishTimeoutMs: defaults.publishTimeoutMs,
  requestTimeoutMs: defaults.requestTimeoutMs,
  queueSize: defaults.queueSize,
  queueBytes: defaults.queueBytes,
}

/** Options that are undefined count as missing. */
const given = (options: ClientOptions): ClientOptions =>
  Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as unknown as ClientOptions

/** Without a slash at the end; a path is of the page's own origin. */
function resolveUrl(url: string): string {
  const { location } = globalThis as { location?: { href: string } }
  try {
    // React Native's URL has no canParse, and takes anything.
    const { href } = new URL(url, location?.href)
    if (/^https?:/.test(href)) return href.replace(/\/+$/, '')
  } catch {}
  throw new TypeError(`createClient: url must be absolute outside a browser: ${url}`)
}

/** A page's own storage, where there is one that may be used. */
function pageStorage(): TransportMemory | undefined {
  const page = globalThis as { document?: unknown; localStorage?: TransportMemory }
  try {
    // Node has one too, which warns of being used.
    return page.document ? page.localStorage : undefined
  } catch {
    return undefined
  }
}
