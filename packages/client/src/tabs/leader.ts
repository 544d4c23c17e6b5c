import { codeOf, EverwireError, type Frame } from '@everwire/core'
import type { Carrier, CarrierHandler, CarrierStats, ConnectionState, Explanation } from '../carrier.js'
import { Desk, headerOf, type DeskSeat } from './desk.js'
import { holdLock, type TabLocks } from './environment.js'
import {
  readUpFrame,
  type DownFrame,
  type FollowerMessage,
  type LeaderBody,
  type LeaderMessage,
  type Limits,
  type Status,
  type TabMessage,
} from './messages.js'
import type { Role, RoleHandler } from './role.js'
import { TabSession } from './tab-session.js'

export interface LeaderOptions {
  term: number
  userId: string | null
  locks: TabLocks
  /** Name of the lock that a tab holds as long as it lives. */
  lifeLock(tab: string): string
  connect(handler: CarrierHandler): Carrier
  post(message: LeaderMessage): void
  handler: RoleHandler
  /** The connection has ended for good. */
  ended(error: EverwireError | undefined): void
}

/** Another tab at the desk. */
interface Guest extends DeskSeat {
  session: number
  /** Messages that came in this session. */
  seq: number
  /** Stops waiting for the tab's end. */
  release(): void
}

/** Runs the one connection, and serves the other tabs. */
export class Leader implements Role {
  readonly #options: LeaderOptions
  readonly #carrier: Carrier
  readonly #desk: Desk
  readonly #guests = new Map<string, Guest>()
  #own: TabSession | undefined
  #sessions = 0
  #seq = 0
  #down: DownFrame[] = []
  #lastDown: Frame | undefined
  #pinging: Promise<number> | undefined
  #gone = false
  #foreign = false

  constructor(options: LeaderOptions) {
    this.#options = options
    const { handler } = options
    const seat: DeskSeat = {
      began: (limits) => {
        this.#own = new TabSession({
          isOpen: () => true,
          push: (frames) => {
            for (const { number, frame } of frames) this.#desk.take(seat, number, frame, headerOf(frame))
          },
          withdraw: (number) => this.#desk.withdraw(seat, number),
        })
        handler.began(this.#own, limits)
      },
      lost: () => this.#loseOwn(),
      frame: (frame, number) => handler.frame(frame, number),
    }
    this.#desk = new Desk(seat)
    this.#carrier = options.connect({
      state: (state, error) => {
        if (this.#gone) return
        if (state === 'closed') return options.ended(error)
        // A ping may have gone with its link.
        this.#pinging = undefined
        handler.changed(error)
        this.#tell()
      },
      began: (session, { frameBytes, dedupWindowMs }) => {
        if (this.#gone) return
        // Another user's session must not carry this group; the carrier is in the middle of its turn.
        this.#foreign = this.#carrier.userId !== options.userId
        if (this.#foreign) queueMicrotask(() => this.#gone || handler.regroup())
        else this.#desk.began(session, { frameBytes, dedupWindowMs })
      },
      lost: () => {
        if (this.#gone || this.#foreign) return
        this.#desk.lost()
        this.#post({ kind: 'lost' })
      },
      frame: (frame, number) => {
        if (!this.#gone && !this.#foreign) this.#desk.frame(frame, number)
      },
      stale: (isStale) => {
        if (this.#gone) return
        handler.stale(isStale)
        this.#tell()
      },
    })
  }

  /** Once: what is heard then may concern who made it. */
  start(): void {
    this.#post({ kind: 'lead' })
    this.#carrier.connect()
  }

  get state(): ConnectionState {
    return this.#carrier.state
  }
  get transport(): string | undefined {
    return this.#carrier.transport
  }
  get stale(): boolean {
    return this.#carrier.stale
  }
  get userId(): string | null | undefined {
    return this.#carrier.userId
  }
  switchTo(transport: string): Promise<void> {
    return this.#carrier.switchTo(transport)
  }
  ping(): Promise<number> {
    // Several tabs may ask at once: one answer is enough.
    this.#pinging ??= this.#carrier.ping().finally(() => (this.#pinging = undefined))
    return this.#pinging
  }
  stats(): CarrierStats {
    return this.#carrier.stats()
  }
  explain(): Explanation {
    const explanation = this.#carrier.explain()
    const others = this.#guests.size
    if (others === 0) return explanation
    return { ...explanation, sentence: `${explanation.sentence}; this tab carries ${others} more` }
  }

  receive(message: TabMessage): void {
    if (this.#gone || !('from' in message)) return
    if (message.kind === 'ask') return this.#tell()
    if (message.kind === 'join') return this.#join(message.from)
    if (message.term !== this.#options.term) return
    if (message.kind === 'leave') this.#forget(message.from)
    else if (message.kind === 'up') this.#up(message)
    else if (message.kind === 'call') void this.#call(message)
  }

  leave(regroup = false): void {
    if (this.#gone) return
    this.#post({ kind: 'gone', regroup })
    this.#gone = true
    for (const { release } of this.#guests.values()) release()
    this.#guests.clear()
    this.#loseOwn()
    this.#carrier.close()
  }

  #loseOwn(): void {
    if (!this.#own) return
    this.#own.ended = true
    this.#own = undefined
    this.#options.handler.lost()
  }

  #join(id: string): void {
    this.#forget(id)
    const guest: Guest = {
      session: 0,
      seq: 0,
      began: (limits) => {
        guest.session = ++this.#sessions
        guest.seq = 0
        this.#seat(id, guest, limits)
      },
      // All are told at once.
      lost: () => {
        guest.session = 0
      },
      frame: (frame) => this.#queue(guest, frame),
      // A tab that dies says nothing: its lock becomes free.
      release: holdLock(this.#options.locks, this.#options.lifeLock(id), {
        granted: () => this.#guests.get(id) === guest && this.#forget(id),
      }),
    }
    this.#guests.set(id, guest)
    this.#desk.join(guest)
    if (guest.session === 0) this.#seat(id, guest, undefined)
  }

  #forget(id: string): void {
    const guest = this.#guests.get(id)
    if (!guest) return
    this.#guests.delete(id)
    this.#desk.leave(guest)
    guest.release()
  }

  #up({ from, session, seq, frames }: FollowerMessage & { kind: 'up' }): void {
    const guest = this.#guests.get(from)
    // What was meant for a session that is lost means nothing in this one.
    if (guest && session !== guest.session) return
    if (!guest || seq !== ++guest.seq) {
      this.#forget(from)
      return this.#post({ kind: 'rejoin', to: from })
    }
    for (const item of frames) {
      const read = readUpFrame(item)
      if (read) this.#desk.take(guest, read.number, read.frame, read.header)
    }
  }

  async #call({ from, id, method, argument }: FollowerMessage & { kind: 'call' }): Promise<void> {
    const answer = { kind: 'answer', to: from, id, ms: 0, code: undefined, reason: '' } as const
    try {
      const ms = method === 'ping' ? await this.ping() : await this.switchTo(argument)
      this.#post({ ...answer, ms: ms ?? 0 })
    } catch (error) {
      const code = codeOf(error)
      this.#post({ ...answer, code, reason: (error as Error).message })
    }
  }

  #seat(to: string, { session }: Guest, limits: Limits | undefined): void {
    this.#post({ kind: 'seat', to, status: this.#status, session, limits })
  }

  get #status(): Status {
    const { state, transport, stale, userId } = this
    return { state, transport, stale, userId, explanation: this.#carrier.explain(), stats: this.stats() }
  }

  #tell(): void {
    this.#post({ kind: 'here', status: this.#status })
  }

  #queue({ session }: Guest, frame: Frame): void {
    if (this.#down.length === 0) queueMicrotask(() => this.#flush())
    // The same publication goes to many: written once.
    if (this.#lastDown === frame) return void this.#down.at(-1)![0].push(session)
    this.#lastDown = frame
    this.#down.push([[session], frame.header, frame.data, frame.binary])
  }

  #flush(): void {
    const frames = this.#down
    if (frames.length === 0) return
    this.#down = []
    this.#lastDown = undefined
    this.#post({ kind: 'down', frames })
  }

  #post(body: LeaderBody): void {
    if (this.#gone) return
    // In the order in which it happened.
    this.#flush()
    this.#options.post({ ...body, term: this.#options.term, seq: ++this.#seq } as LeaderMessage)
  }
}
