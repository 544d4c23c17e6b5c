import { EverwireError, type Cancel, type Clock } from '@everwire/core'
import type { CarrierStats, ConnectionState, Explanation } from '../carrier.js'
import {
  isOfLeader,
  readDownFrame,
  type CallMethod,
  type FollowerMessage,
  type LeaderMessage,
  type Limits,
  type Status,
  type TabMessage,
} from './messages.js'
import type { Role, RoleHandler } from './role.js'
import { TabSession } from './tab-session.js'

export interface FollowerOptions {
  id: string
  clock: Clock
  random: () => number
  post(message: FollowerMessage): void
  handler: RoleHandler
  /** Highest term heard of; messages of lower ones are late. */
  term: number
  /** A leader began. */
  follows(term: number): void
  /** The leader gives no sign, though it was asked. */
  silent(): void
}

/** How often a follower looks whether the leader has given a sign, and after how many questions it stops to wait. */
const lookMs = 2_000
const maxQuestions = 3

interface Call {
  resolve(ms: number): void
  reject(error: EverwireError): void
}

/** Goes through the leader's connection. */
export class Follower implements Role {
  readonly #options: FollowerOptions
  readonly #calls = new Map<number, Call>()
  #term: number
  #leaderSeq = 0
  #hasSeat = false
  #session: TabSession | undefined
  /** Its number at the leader's. */
  #sessionNumber = 0
  #seq = 0
  #ids = 0
  #frames = 0
  #status: Status | undefined
  #statusAt = 0
  #questions = 0
  #heard = false
  #cancelLook: Cancel = () => {}
  #gone = false

  constructor(options: FollowerOptions) {
    this.#options = options
    this.#term = options.term
    this.#watch()
  }

  get state(): ConnectionState {
    return (this.#hasSeat && this.#status?.state) || 'connecting'
  }
  get transport(): string | undefined {
    return this.#hasSeat ? this.#status?.transport : undefined
  }
  get stale(): boolean {
    return this.#status?.stale ?? false
  }
  get userId(): string | null | undefined {
    return this.#status?.userId
  }
  switchTo(transport: string): Promise<void> {
    return this.#call('switchTo', transport).then(() => {})
  }
  ping(): Promise<number> {
    return this.#call('ping', '')
  }
  stats(): CarrierStats {
    return this.#status?.stats ?? { received: 0, sent: 0, sessions: 0, resumes: 0 }
  }
  explain(): Explanation {
    const known = this.#status?.explanation
    const { state, transport } = this
    if (!known || !this.#hasSeat)
      return {
        transports: [],
        attempts: [],
        ...known,
        state,
        transport,
        upMs: undefined,
        sentence: 'waiting for the tab that carries it',
      }
    const upMs =
      known.upMs === undefined ? undefined : known.upMs + this.#options.clock.now() - this.#statusAt
    return { ...known, upMs, sentence: `another tab carries it: ${known.sentence}` }
  }

  /** Looks for a leader. */
  join(): void {
    this.#post({ kind: 'join' })
  }

  receive(message: TabMessage): void {
    if (this.#gone || !isOfLeader(message) || message.term < this.#term) return
    this.#questions = 0
    this.#heard = true
    const isNew = message.term > this.#term
    if (isNew) this.#follow(message.term)
    const isMine = 'to' in message && message.to === this.#options.id
    if (message.kind === 'seat' && isMine) return this.#seated(message)
    if (message.kind === 'lead' || isNew) return this.#rejoin()
    if (message.kind === 'rejoin' && isMine) return this.#rejoin()
    if (message.kind === 'gone') return this.#left(message.regroup)
    if (!this.#hasSeat) return
    // Something did not come: from the start, then.
    if (message.seq !== ++this.#leaderSeq) return this.#rejoin()
    if (message.kind === 'here') this.#show(message.status)
    else if (message.kind === 'lost') this.#lose()
    else if (message.kind === 'answer' && isMine) this.#answered(message)
    else if (message.kind === 'down') this.#receive(message.frames)
  }

  leave(): void {
    if (this.#gone) return
    this.#post({ kind: 'leave' })
    this.#gone = true
    this.#cancelLook()
    this.#stand()
  }

  #follow(term: number): void {
    this.#term = term
    this.#options.follows(term)
  }

  #seated({ session, limits, status, seq }: LeaderMessage & { kind: 'seat' }): void {
    this.#lose()
    this.#hasSeat = true
    this.#leaderSeq = seq
    // Before the session begins: what it is sent may go on only over a connection.
    this.#status = status
    this.#statusAt = this.#options.clock.now()
    if (limits) this.#begin(session, limits)
    this.#options.handler.changed()
  }

  #begin(number: number, limits: Limits): void {
    this.#sessionNumber = number
    this.#seq = 0
    this.#frames = 0
    const session = new TabSession({
      isOpen: () => this.#status?.state === 'connected',
      push: (frames) =>
        this.#post({
          kind: 'up',
          session: number,
          seq: ++this.#seq,
          frames: frames.map(({ number, frame: { head, data, binary } }) => [number, head, data, binary]),
        }),
    })
    this.#session = session
    this.#options.handler.began(session, limits)
  }

  #receive(frames: readonly unknown[]): void {
    for (const item of frames) {
      // What it brings may end it.
      if (!this.#session) return
      const frame = readDownFrame(item, this.#sessionNumber)
      if (frame) this.#options.handler.frame(frame, ++this.#frames)
    }
  }

  #show(status: Status): void {
    const { stale, handler } = { stale: this.stale, handler: this.#options.handler }
    this.#status = status
    this.#statusAt = this.#options.clock.now()
    this.#session?.flush()
    handler.changed()
    if (stale !== this.stale) handler.stale(this.stale)
  }

  #lose(): void {
    const session = this.#session
    if (!session) return
    session.ended = true
    this.#session = undefined
    this.#options.handler.lost()
  }

  /** Has no seat any more. */
  #stand(): void {
    this.#hasSeat = false
    for (const { reject } of this.#calls.values())
      reject(new EverwireError('link-lost', 'the leading tab has gone'))
    this.#calls.clear()
    this.#lose()
  }

  #rejoin(): void {
    this.#stand()
    this.#options.handler.changed()
    this.join()
  }

  #left(regroup: boolean): void {
    this.#stand()
    this.#options.handler.changed()
    if (regroup) this.#options.handler.regroup()
  }

  #watch(): void {
    const { clock, random } = this.#options
    // Jittered: of those who would take the lead, one should be first.
    this.#cancelLook = clock.after(lookMs * (0.75 + random() / 2), () => this.#look())
  }

  /** Timers of hidden tabs are late, but messages are not: what counts is what was asked and not answered. */
  #look(): void {
    this.#watch()
    const heard = this.#heard
    this.#heard = false
    // The answer to one tab is heard by all.
    if (heard && this.#hasSeat) return
    if (this.#questions++ >= maxQuestions) return this.#options.silent()
    if (this.#hasSeat) this.#post({ kind: 'ask' })
    else this.join()
  }

  #call(method: CallMethod, argument: string): Promise<number> {
    return new Promise((resolve, reject) => {
      if (!this.#hasSeat) return reject(new EverwireError('link-lost', 'not connected'))
      const id = ++this.#ids
      this.#calls.set(id, { resolve, reject })
      this.#post({ kind: 'call', id, method, argument })
    })
  }

  #answered({ id, ms, code, reason }: LeaderMessage & { kind: 'answer' }): void {
    const call = this.#calls.get(id)
    this.#calls.delete(id)
    if (code) call?.reject(new EverwireError(code, reason))
    else call?.resolve(ms)
  }

  #post(body: Body): void {
    if (!this.#gone)
      this.#options.post({ ...body, from: this.#options.id, term: this.#term } as FollowerMessage)
  }
}

type Body = FollowerMessage extends infer Message
  ? Message extends FollowerMessage
    ? Omit<Message, 'from' | 'term'>
    : never
  : never
