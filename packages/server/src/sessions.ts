import { EverwireError, OutboxBudget, randomBase32, type Cancel, type Clock } from '@everwire/core'
import { ServerSession, type Identity, type MovedSession, type SessionHost } from './client-session.js'

export interface SessionsOptions {
  nodeId: string
  clock: Clock
  host: SessionHost
  maxSessions: number
  outboxFrames: number
  outboxBytes: number
  outboxBudgetBytes: number
  resumeWindowMs: number
  unattachedMs: number
}

/** The sessions that this node owns, each until it ends or its resume window passes without a link. */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #bySecret = new Map<string, ServerSession>()
  readonly #byId = new Map<string, ServerSession>()
  /** Of the sessions without a link, in the order in which they lost it. */
  readonly #timers = new Map<ServerSession, Cancel>()
  readonly #budget: OutboxBudget
  #closed = false
  #refusing: EverwireError | undefined

  constructor(options: SessionsOptions) {
    this.#options = options
    this.#budget = new OutboxBudget(options.outboxBudgetBytes, () => this.#relieve())
  }

  get closed(): boolean {
    return this.#closed
  }
  get size(): number {
    return this.#bySecret.size
  }

  [Symbol.iterator](): IterableIterator<ServerSession> {
    return this.#bySecret.values()
  }

  /** A session that begins here. @throws EverwireError `too-many-sessions`, `server-closing` */
  create(identity: Identity): ServerSession {
    this.assertRoom()
    const session = this.#add(randomBase32(26), identity)
    this.#endAfter(session, this.#options.unattachedMs)
    return session
  }

  /** A session that comes from another node, without a link yet. */
  adopt(secret: string, identity: Identity, moved: MovedSession): ServerSession {
    const session = this.#add(secret, identity, moved)
    this.detached(session)
    return session
  }

  /** @throws EverwireError `too-many-sessions`, `server-closing` */
  assertRoom(): void {
    const { maxSessions } = this.#options
    if (this.#refusing) throw this.#refusing
    if (this.size >= maxSessions)
      throw new EverwireError('too-many-sessions', `this node has its ${maxSessions} sessions`)
  }

  /** Takes no more sessions: whoever comes hears this. Those that are here go on. */
  refuse(error: EverwireError): void {
    this.#refusing ??= error
  }

  find(secret: string): ServerSession | undefined {
    return this.#bySecret.get(secret)
  }

  /** By public id. */
  get(id: string): ServerSession | undefined {
    return this.#byId.get(id)
  }

  /** A link is attached: the session lives as long as it does. */
  attached(session: ServerSession): void {
    this.#timers.get(session)?.()
    this.#timers.delete(session)
  }

  /** The last link is gone: the resume window begins. */
  detached(session: ServerSession): void {
    if (!session.core.ended) this.#endAfter(session, this.#options.resumeWindowMs)
  }

  forget(session: ServerSession): void {
    this.attached(session)
    this.#bySecret.delete(session.secret)
    this.#byId.delete(session.id)
  }

  /** Ends them all, and opens no more. */
  close(): void {
    this.#closed = true
    this.refuse(new EverwireError('server-closing', 'the server is closing'))
    for (const session of [...this]) session.end('server-closing', 'the server is closing')
  }

  /** Ends sessions until the node keeps no more than its budget; each recovers by position when it comes back. */
  #relieve(): void {
    for (const session of this.#timers.keys()) {
      if (!this.#budget.isExceeded) return
      session.end('unknown-session', 'the node keeps too much for sessions without a link')
    }
    for (const most of [...this].sort((a, b) => b.core.outbox.bytes - a.core.outbox.bytes)) {
      if (!this.#budget.isExceeded) return
      most.end('slow-consumer', 'the node keeps too much, and most of it for this session')
    }
  }

  #add(secret: string, identity: Identity, moved?: MovedSession): ServerSession {
    const { nodeId, host, outboxFrames, outboxBytes } = this.#options
    const budget = this.#budget
    const session = new ServerSession({
      secret,
      nodeId,
      identity,
      outboxFrames,
      outboxBytes,
      budget,
      host,
      moved,
    })
    this.#bySecret.set(session.secret, session)
    this.#byId.set(session.id, session)
    return session
  }

  #endAfter(session: ServerSession, ms: number): void {
    this.attached(session)
    this.#timers.set(
      session,
      this.#options.clock.after(ms, () => session.end('unknown-session', 'the resume window has passed')),
    )
  }
}
