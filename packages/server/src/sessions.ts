import { EverwireError, OutboxBudget, randomBase32, type Cancel, type Clock } from '@everwire/core'
import { ServerSession, type Identity, type SessionHost } from './client-session.js'

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
  /** Hears that a client brought an id of another node. */
  foreign(): void
}

/** `node.secret`, in base32; checked before anything else is done with an id. */
const idPattern = /^([a-z2-7]{12})\.([a-z2-7]{26})$/

/** The sessions that this node owns, each until it ends or its resume window passes without a link. */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #bySecret = new Map<string, ServerSession>()
  readonly #byId = new Map<string, ServerSession>()
  /** Of the sessions without a link, in the order in which they lost it. */
  readonly #timers = new Map<ServerSession, Cancel>()
  readonly #budget: OutboxBudget
  #closed = false

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

  /** @throws EverwireError `too-many-sessions`, `server-closing` */
  create(identity: Identity): ServerSession {
    const { nodeId, host, maxSessions, outboxFrames, outboxBytes, unattachedMs } = this.#options
    if (this.#closed) throw new EverwireError('server-closing', 'the server is closing')
    if (this.size >= maxSessions)
      throw new EverwireError('too-many-sessions', `this node has its ${maxSessions} sessions`)
    const session = new ServerSession({
      secret: randomBase32(26),
      nodeId,
      identity,
      outboxFrames,
      outboxBytes,
      budget: this.#budget,
      host,
    })
    this.#bySecret.set(session.secret, session)
    this.#byId.set(session.id, session)
    this.#endAfter(session, unattachedMs)
    return session
  }

  /** @throws EverwireError `unknown-session`, the same for what never was, what ended, and what is not an id at all */
  find(id: string): ServerSession {
    const [, node, secret] = idPattern.exec(id) ?? []
    if (node !== undefined && node !== this.#options.nodeId) this.#options.foreign()
    const session = node === this.#options.nodeId ? this.#bySecret.get(secret!) : undefined
    if (!session) throw new EverwireError('unknown-session', 'there is no such session on this node')
    return session
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
    for (const session of [...this]) session.end('server-closing', 'the server is closing')
  }

  /** Ends sessions until the node keeps no more than its budget; each recovers by position when it comes back. */
  #relieve(): void {
    for (const session of this.#timers.keys()) {
      if (!this.#budget.isExceeded) return
      session.end('unknown-session', 'the node keeps too much for sessions without a link')
    }
    for (const most of [...this].sort((a, b) => b.core.outboxBytes - a.core.outboxBytes)) {
      if (!this.#budget.isExceeded) return
      most.end('slow-consumer', 'the node keeps too much, and most of it for this session')
    }
  }

  #endAfter(session: ServerSession, ms: number): void {
    this.attached(session)
    this.#timers.set(
      session,
      this.#options.clock.after(ms, () => session.end('unknown-session', 'the resume window has passed')),
    )
  }
}
