import {
  encodeFrame,
  EverwireError,
  type AttachRequest,
  type Cancel,
  type Clock,
  type Frame,
  type Link,
  type LinkHandler,
  type Nodes,
  type TransportOffer,
} from '@everwire/core'
import type { Hub } from '../channels/hub.js'
import type { Identity, ServerSession } from '../client-session.js'
import type { Metrics } from '../metrics.js'
import type { Operations } from '../operations.js'
import type { Sessions } from '../sessions.js'
import { Bounds } from './bounds.js'
import { Departures } from './departures.js'
import { Drain, type DrainReport, type DrainTimes } from './drain.js'
import { Handover } from './handover.js'
import { Notes } from './notes.js'
import { Relay } from './relay.js'
import { elsewhereMs } from './taker.js'

export interface ClusterOptions {
  nodeId: string
  /** Missing where there is one node only. */
  nodes: Nodes | undefined
  clock: Clock
  sessions: Sessions
  hub: Hub
  operations: Operations
  metrics: Metrics
  resumeWindowMs: number
  pollWaitMs: number
  handoverIntervalMs: number
  bundleBytes: number
  maxRelays: number
  maxRelaysPerAddress: number
  /** A poll that came to another node, for a session of this one. */
  accept(link: Link, identity: Identity, offers: TransportOffer[] | undefined): LinkHandler
  apply(session: ServerSession, first: number, frames: readonly Frame[]): number
  /** A session is not here any more. */
  left(session: ServerSession): void
  /** A client brought an id of another node, and there can be none. */
  foreign(): void
  log(level: 'info' | 'warn', fields: Readonly<Record<string, unknown>>, message: string): void
}

/** A session that another node has, as far as it is known. */
export interface Elsewhere {
  readonly secret: string
  readonly owner: string
}

/** `node.secret`, in base32; checked before anything else is done with an id. */
const idPattern = /^([a-z2-7]{12})\.([a-z2-7]{26})$/
/** How long this node may be cut off before it says so: a server that restarts is back sooner. */
const staleMs = 2_000
const quietMs = 60_000

/** Whose session it is: this node's, or which other's; and how it gets from one to the other. */
export class Cluster {
  readonly #options: ClusterOptions
  readonly #departures: Departures
  readonly #handover: Handover | undefined
  readonly #relay: Relay | undefined
  readonly #notes: Notes | undefined
  readonly #bounds: Bounds
  readonly #drain: Drain
  #cancelStale: Cancel = () => {}
  #isStale = false
  #isServing = false
  #quietUntil = -Infinity

  constructor(options: ClusterOptions) {
    const { nodes, sessions, clock, resumeWindowMs, handoverIntervalMs, log } = options
    this.#options = options
    this.#bounds = new Bounds({
      perNode: options.maxRelays,
      perAddress: options.maxRelaysPerAddress,
      refused: (message) => this.#refused(message),
    })
    const departures = (this.#departures = new Departures(options.nodeId, clock, resumeWindowMs))
    if (nodes) {
      this.#handover = new Handover({
        ...options,
        nodes,
        departures,
        intervalMs: handoverIntervalMs,
        isDraining: () => this.isDraining,
        isServing: () => this.#isServing,
      })
      this.#relay = new Relay({
        ...options,
        nodes,
        departures,
        bounds: this.#bounds,
        handover: this.#handover,
      })
      this.#notes = new Notes(nodes, clock, sessions, departures)
      nodes.onConnection((connected) => this.#connection(connected))
    }
    this.#drain = new Drain({
      nodes,
      clock,
      sessions,
      handover: this.#handover,
      notes: this.#notes,
      log: (fields, message) => log('info', fields, message),
    })
  }

  /** This node has all its channels now: sessions may be given to it. */
  serve(): void {
    this.#isServing = true
  }

  /** New clients are welcome: the node neither drains nor is cut off from the others. */
  get isReady(): boolean {
    return !this.isDraining && !this.#isStale
  }
  get isDraining(): boolean {
    return this.#drain.isRunning
  }
  /** What is kept or under way for sessions of other nodes; nothing after a while of quiet. */
  get pending(): number {
    const { size } = this.#departures
    return size + this.#bounds.size + (this.#handover?.pending ?? 0) + (this.#relay?.held ?? 0)
  }

  /**
   * Who has a session, once it is neither on its way here nor away.
   * @throws EverwireError `unknown-session`, the same for what never was, what ended, and what is not an id at all;
   * `server-closing`
   */
  async locate(id: string): Promise<ServerSession | Elsewhere> {
    const [, hint, secret] = idPattern.exec(id) ?? []
    if (hint === undefined || secret === undefined) throw unknown()
    const { sessions, nodes, nodeId, foreign } = this.#options
    const session = this.#handover ? await this.#handover.arrived(secret) : sessions.find(secret)
    if (session) return session
    // Where it went may be forgotten by then: the other nodes know.
    if (sessions.closed)
      throw new EverwireError('server-closing', 'the server is closing', { retryAfterMs: elsewhereMs })
    const departure = this.#departures.get(secret)
    if (departure && departure.to === undefined) throw unknown()
    if (!nodes && hint !== nodeId) foreign()
    if (!nodes) throw unknown()
    // Who lives and is named in the id had the session when the client heard of it last, and knows where it went.
    const owner = nodes.others.includes(hint) ? hint : (departure?.to ?? hint)
    if (owner === nodeId || nodes.isGone(owner)) throw unknown()
    if (!nodes.connected)
      throw new EverwireError('node-unavailable', 'this node is cut off from the others', {
        retryAfterMs: 1_000,
      })
    return { secret, owner }
  }

  /** Whether a session is about to leave, is at another node now, or has come back since. */
  isMoving(session: ServerSession): boolean {
    const { secret, leaving, core } = session
    if (leaving) return true
    if (!core.ended) return false
    // Where it went may be forgotten.
    if (this.#options.sessions.closed) return true
    return this.#departures.get(secret)?.to !== undefined || this.#options.sessions.find(secret) !== undefined
  }

  /** Takes a session over. @throws EverwireError `unknown-session`, `stale`, `node-unavailable`, `server-closing` */
  async take(
    { secret, owner }: Elsewhere,
    attach: { request: AttachRequest; identity: Identity; address: string },
  ): Promise<ServerSession> {
    const leave = this.#bounds.enter(owner, attach.address)
    return await this.#handover!.take(secret, owner, attach).finally(leave)
  }

  /** Sends a poll on to the node that has the session. @returns tells that nobody waits any more */
  relayPoll(
    link: Link,
    { secret, owner }: Elsewhere,
    question: {
      request: AttachRequest
      identity: Identity
      offers: TransportOffer[]
      address: string
    },
    failed: (error: unknown) => void,
  ): () => void {
    return this.#relay!.poll(link, owner, { secret, ...question }, failed)
  }

  /** Sends frames on to the node that has the session. @returns how many of the client's frames are applied */
  async relayUplink(
    { secret, owner }: Elsewhere,
    question: { first: number; frames: readonly Frame[]; address: string },
  ): Promise<number> {
    return await this.#relay!.uplink(owner, { secret, ...question })
  }

  /** A session ended here: it must not be taken again from whoever had it before. */
  ended({ secret, attachState, hasMoved }: ServerSession): void {
    if (hasMoved) this.#departures.add(secret, undefined, attachState.gen)
  }

  async drain(times: DrainTimes): Promise<DrainReport> {
    return await this.#drain.run(times)
  }

  /** Relays no more; the other nodes are still told where sessions went. */
  close(): void {
    this.#cancelStale()
    this.#relay?.close()
  }

  /** Nobody can ask any more. */
  forget(): void {
    this.#handover?.close()
    this.#departures.close()
  }

  /** Tells a client, over the link at hand, whether this node is cut off, unless it knows. */
  tellStale(session: ServerSession): void {
    if (session.toldStale === this.#isStale) return
    session.toldStale = this.#isStale
    session.core.link?.send([encodeFrame(['stale', this.#isStale ? 1 : 0])])
  }

  /** Clients of a node that is cut off keep it, and are told: what others publish does not come. */
  #connection(connected: boolean): void {
    const { clock, sessions, log } = this.#options
    const tell = (isStale: boolean) => {
      this.#isStale = isStale
      log(
        'warn',
        { sessions: sessions.size },
        isStale ? 'cut off from the other nodes' : 'joined to them again',
      )
      for (const session of sessions) if (session.core.link) this.tellStale(session)
    }
    this.#cancelStale()
    if (!connected) this.#cancelStale = clock.after(staleMs, () => tell(true))
    else if (this.#isStale) tell(false)
  }

  #refused(message: string): void {
    const { clock, log } = this.#options
    if (clock.now() < this.#quietUntil) return
    this.#quietUntil = clock.now() + quietMs
    log(
      'warn',
      {},
      `${message}: see maxRelays and maxRelaysPerAddress; behind a proxy, Fastify needs trustProxy`,
    )
  }
}

const unknown = () => new EverwireError('unknown-session', 'there is no such session on this node')
