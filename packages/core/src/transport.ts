import type { Clock } from './clock.js'
import type { EncodedFrame } from './frame.js'
import type { Fetch } from './http-frames.js'
import type { Link, LinkHandler } from './link.js'

/** What a server transport knows of a link before its first frame. */
export interface ServerHandshake {
  /** The HTTP request that opened it: a Fastify request. */
  readonly request: unknown
}

/** What a server transport gets to work with. */
export interface ServerTransportContext {
  /** Hands a new link over; every frame then goes to the handler, the first ones too. */
  accept(link: Link, handshake: ServerHandshake): LinkHandler
  /** Largest frame in bytes. */
  readonly frameBytes: number
  /** Bytes waiting in a socket above which a link counts as blocked. */
  readonly highWaterBytes: number
  readonly clock: Clock
  /** How long a long poll may be held. */
  readonly pollWaitMs: number
}

/** The server half of a transport: turns bytes into frames and back; knows nothing of sessions and channels. */
export interface ServerTransport<App = unknown> {
  /** Its only key, and its path below the prefix. */
  readonly name: string
  /** Adds its routes to the Fastify instance. */
  register(app: App, context: ServerTransportContext): void | Promise<void>
}

/** What a client transport gets to open a link. */
export interface ClientHandshake {
  /** Address that all of Everwire stands under, absolute in Node, without a slash at the end. */
  readonly url: string
  readonly fetch: Fetch
  readonly clock: Clock
  /** Sent with every HTTP request. */
  readonly headers: Readonly<Record<string, string>>
  /** Milliseconds after which something on the path cuts what is silent; infinite where nothing is known. */
  readonly idleMs: number
  /** The attach frame of the link that is opened; asked again for each request of a link that is made of several. */
  attach(options?: { poll: number; waitMs?: number }): EncodedFrame
  /** What the session is called now; it changes when the session moves to another node. */
  session(): string | undefined
  /** The server has applied the client's frames up to this number. */
  applied(number: number): void
}

/** A way that was tried and works; it has attached nothing. */
export interface Probe {
  /** Goes on as a link, over the same connection where that is possible. */
  attach(handshake: ClientHandshake, handler: LinkHandler): Link
  /** Gives the way up. Safe to call twice, and after `attach`, which it then leaves alone. */
  close(): void
}

/** The client half of a transport. */
export interface ClientTransport {
  /** Its only key, the same as on the server. */
  readonly name: string
  /** What the transport found out of the path, where it has several ways; a client remembers it with what worked. */
  way?: string
  /** Whether this browser or runtime can do it at all. */
  supported(): boolean
  /** Tries the way: hello with a nonce and one ping come back. Attaches nothing. Rejects with an EverwireError. */
  probe(handshake: ClientHandshake, signal: AbortSignal): Promise<Probe>
  /** Opens a link whose first frame is the attach. Never throws: a failure is told by `closed`. */
  attach(handshake: ClientHandshake, handler: LinkHandler): Link
}
