import { EverwireError, randomBase32, type Cancel, type Clock, type Fetch } from '@everwire/core'
import type { Carrier, CarrierHandler, ConnectionState } from '../carrier.js'
import { browserEnvironment, type TabEnvironment } from './environment.js'
import { Group } from './group.js'
import type { Role } from './role.js'
import { askWho } from './who.js'

export interface TabParts {
  url: string
  clock: Clock
  random: () => number
  fetch: Fetch
  headers: Readonly<Record<string, string>>
  getToken?: (() => string | undefined | Promise<string | undefined>) | undefined
  /** Makes a connection of this tab's own. */
  connect(handler: CarrierHandler): Carrier
  /** @default the browser's */
  environment?: TabEnvironment | undefined
}

const whoTimeoutMs = 5_000
const whoRetryMs = 1_000
/** A user who is another at the session than at the question is asked for once more. */
const maxRegroups = 1

/** Carries a client over one connection for all tabs of its origin and user; over its own where they cannot share. */
export function createTabCarrier(parts: TabParts, handler: CarrierHandler): Carrier {
  const environment = parts.environment ?? browserEnvironment()
  return environment ? new TabCarrier(parts, environment, handler) : parts.connect(handler)
}

class TabCarrier implements Carrier {
  readonly #parts: TabParts
  readonly #environment: TabEnvironment
  readonly #handler: CarrierHandler
  #state: ConnectionState = 'idle'
  #shown = ''
  #group: Group | undefined
  /** The tab's own connection, where it does not share. */
  #own: Carrier | undefined
  #regroups = 0
  #hasBegun = false
  #cancelRetry: Cancel = () => {}
  /** Told apart by identity: an answer for an earlier one is late. */
  #asking: object | undefined

  constructor(parts: TabParts, environment: TabEnvironment, handler: CarrierHandler) {
    this.#parts = parts
    this.#environment = environment
    this.#handler = handler
  }

  get #part(): Carrier | Role | undefined {
    return this.#own ?? this.#group?.role
  }
  get state(): ConnectionState {
    return this.#own?.state ?? this.#state
  }
  get transport(): string | undefined {
    return this.#part?.transport
  }
  get stale(): boolean {
    return this.#part?.stale ?? false
  }
  get userId(): string | null | undefined {
    return this.#part?.userId
  }
  connect(): void {
    if (this.#own) return this.#own.connect()
    if (this.#state !== 'idle') return
    this.#enter('connecting')
    this.#listen(true)
    void this.#regroup()
  }
  close(error = new EverwireError('closed', 'closed by the client')): void {
    if (this.#own) return this.#own.close(error)
    if (this.#state === 'closed') return
    this.#enter('closed', error)
    this.#listen(false)
    this.#leave()
  }
  switchTo(transport: string): Promise<void> {
    return this.#part?.switchTo(transport) ?? Promise.reject(notConnected())
  }
  ping(): Promise<number> {
    return this.#part?.ping() ?? Promise.reject(notConnected())
  }
  explain() {
    return (
      this.#part?.explain() ?? {
        ...{ state: this.#state, transport: undefined, upMs: undefined, transports: [], attempts: [] },
        sentence: this.#state,
      }
    )
  }
  stats() {
    return this.#part?.stats() ?? { received: 0, sent: 0, sessions: 0, resumes: 0 }
  }

  /** Asks who this is, and joins the tabs of that user. */
  async #regroup(tries = 2): Promise<void> {
    const asking = {}
    this.#asking = asking
    const { getToken } = this.#parts
    let token: string | undefined
    let userId: string | null
    try {
      token = await getToken?.()
      userId = await askWho({ ...this.#parts, timeoutMs: whoTimeoutMs }, token)
    } catch {
      if (this.#asking !== asking) return
      // A server that starts anew, perhaps. What else it is, the tab's own connection tells, and deals with.
      if (tries <= 1) return this.#goAlone()
      this.#cancelRetry = this.#parts.clock.after(whoRetryMs, () => void this.#regroup(tries - 1))
      return
    }
    if (this.#asking !== asking) return
    this.#asking = undefined
    // Nobody, in spite of a token: who knows whether they are the same.
    if (userId === null && token !== undefined) return this.#goAlone()
    this.#join(userId)
  }

  #join(userId: string | null): void {
    const { url, clock, random, connect } = this.#parts
    this.#group = new Group({
      name: `everwire 1 ${JSON.stringify([url, userId])}`,
      userId,
      id: randomBase32(16),
      environment: this.#environment,
      ...{ clock, random, connect },
      handler: {
        ...this.#carried(),
        changed: (error) => {
          const state = this.#group?.role.state
          if (state) this.#enter(state, error)
        },
        regroup: () => {
          this.#leave(true)
          if (this.#regroups++ >= maxRegroups) return this.#goAlone()
          this.#enter('reconnecting')
          void this.#regroup()
        },
      },
      ended: (error) => this.close(error),
      unable: () => {
        this.#leave()
        this.#goAlone()
      },
    })
  }

  #carried(): Omit<CarrierHandler, 'state'> {
    const handler = this.#handler
    return {
      began: (session, limits) => {
        this.#regroups = 0
        this.#hasBegun = true
        handler.began(session, limits)
      },
      lost: () => handler.lost(),
      frame: (frame, number) => handler.frame(frame, number),
      stale: (isStale) => handler.stale(isStale),
    }
  }

  #goAlone(): void {
    this.#asking = undefined
    this.#listen(false)
    this.#own = this.#parts.connect({
      ...this.#carried(),
      // It begins where this one has begun already.
      state: (state, error) => {
        if (state !== 'connecting') this.#handler.state(state, error)
      },
    })
    this.#own.connect()
  }

  #leave(regroup = false): void {
    this.#cancelRetry()
    this.#asking = undefined
    this.#group?.leave(regroup)
    this.#group = undefined
  }

  #listen(isOn: boolean): void {
    const { page } = this.#environment
    const change = isOn ? 'addEventListener' : 'removeEventListener'
    for (const type of ['pagehide', 'freeze']) page?.[change](type, this.#hide, true)
    for (const type of ['pageshow', 'resume']) page?.[change](type, this.#show, true)
  }

  /** A page that is put away must not lead, and holding a lock would keep it from being put away. */
  readonly #hide = () => {
    this.#leave()
    this.#enter('reconnecting')
  }

  readonly #show = () => {
    if (this.#group || this.#asking || this.#state === 'closed') return
    void this.#regroup()
  }

  #enter(entered: ConnectionState, error?: EverwireError): void {
    // Whoever connects now: for this tab it is not the first time.
    const isFirst = !this.#hasBegun && this.#state !== 'reconnecting'
    const state =
      entered !== 'idle' && entered !== 'connecting' ? entered : isFirst ? 'connecting' : 'reconnecting'
    const shown = `${state} ${this.transport}`
    if (this.#state === 'closed' || (shown === this.#shown && !error)) return
    this.#shown = shown
    this.#state = state
    this.#handler.state(state, error)
  }
}

const notConnected = () => new EverwireError('link-lost', 'not connected')
