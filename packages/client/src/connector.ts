import {
  backoff,
  codeInfo,
  codeOf,
  createHeartbeat,
  defaults,
  encodeFrame,
  EverwireError,
  protocolVersion,
  randomBase32,
  refusal,
  Session,
  type AttachRequest,
  type Cancel,
  type ClientHandshake,
  type ClientTransport,
  type Clock,
  type EncodedFrame,
  type ErrorCode,
  type Fetch,
  type Frame,
  type Heartbeat,
  type Link,
  type Probe,
  type TransportOffer,
  type Welcome,
} from '@everwire/core'
import type {
  Attempt,
  Carrier,
  CarrierHandler,
  CarrierStats,
  ConnectionState,
  Explanation,
} from './carrier.js'
import { createUplink, type Uplink } from './uplink.js'

export interface ConnectorOptions {
  url: string
  transports: readonly ClientTransport[]
  clock: Clock
  fetch: Fetch
  random: () => number
  headers: () => Readonly<Record<string, string>>
  getToken: (() => string | undefined | Promise<string | undefined>) | undefined
  linkTimeoutMs: number
  backoffMs: number
  maxBackoffMs: number
  upgradeIntervalMs: number
  uplinkFrames: number
  queueSize: number
  queueBytes: number
}

/** A link that is being opened, or is attached. */
interface Way {
  transport: ClientTransport
  gen: number
  link: Link
  uplink: Uplink
  /** Settles the attempt; missing once it is settled. */
  settle: ((error?: EverwireError) => void) | undefined
  since: number
  /** Why this end closes it, where the code alone does not say. */
  failure?: EverwireError
}

const maxAttempts = 20

/** Keeps a session attached: chooses a transport, attaches, falls back, comes back, and goes up again. */
export class Connector implements Carrier {
  readonly #options: ConnectorOptions
  readonly #handler: CarrierHandler
  #state: ConnectionState = 'idle'
  #session: Session | undefined
  #sessionId: string | undefined
  #welcome: Welcome | undefined
  #token: string | undefined
  #tokenKnown = false
  #gen = 0
  #current: Way | undefined
  #opening = new Set<Way>()
  #heartbeat: Heartbeat | undefined
  #rounds = 0
  #cancelRetry: Cancel = () => {}
  #cancelUpgrade: Cancel = () => {}
  #lastPing: { at: number; resolve(ms: number): void } | undefined
  #switching: Promise<void> | undefined
  #offers: readonly TransportOffer[] = []
  #stale = false
  /** The session has moved: the next attach need not wait. */
  #sentAway = false
  readonly #attempts: Attempt[] = []
  #resumes = 0
  #sessions = 0

  constructor(options: ConnectorOptions, handler: CarrierHandler) {
    this.#options = options
    this.#handler = handler
  }

  get state(): ConnectionState {
    return this.#state
  }
  get userId(): string | null | undefined {
    return this.#welcome?.userId
  }
  /** What others publish may not come now. */
  get stale(): boolean {
    return this.#stale
  }
  get transport(): string | undefined {
    return this.#current?.transport.name
  }
  get #upMs(): number | undefined {
    return this.#current && this.#options.clock.now() - this.#current.since
  }

  explain(): Explanation {
    const { transports } = this.#options
    return {
      state: this.#state,
      transport: this.transport,
      upMs: this.#upMs,
      transports: transports.map(({ name }) => ({ name, use: 'possible', reason: '' })),
      attempts: [...this.#attempts],
      sentence: sentence(this.#state, this.transport, this.#attempts, transports),
    }
  }

  stats(): CarrierStats {
    const session = this.#session
    return {
      received: session?.received ?? 0,
      sent: session?.sent ?? 0,
      sessions: this.#sessions,
      resumes: this.#resumes,
    }
  }

  connect(): void {
    if (this.#state !== 'idle') return
    this.#enter('connecting')
    void this.#round()
  }

  /** Ends the session on the server too. */
  close(error = new EverwireError('closed', 'closed by the client')): void {
    if (this.#state === 'closed') return
    this.#cancelRetry()
    this.#cancelUpgrade()
    const session = this.#session
    this.#enter('closed', error)
    this.#abandon()
    session?.end('closed', 'by the client')
    this.#forget()
  }

  /** Moves to another transport while the link at hand goes on; rejects, with all as it was, when that one fails. */
  async switchTo(name: string): Promise<void> {
    const transport = this.#options.transports.find((one) => one.name === name)
    if (!transport) throw new EverwireError('no-transport', `this client has no transport ${name}`)
    if (!transport.supported())
      throw new EverwireError('no-transport', `${name} does not work in this runtime`)
    while (this.#switching) await this.#switching.catch(() => {})
    if (this.transport === name) return
    if (!this.#session?.link)
      throw new EverwireError('link-lost', 'not connected: there is nothing to switch from')
    this.#switching = this.#probeAndAttach(transport).finally(() => {
      this.#switching = undefined
    })
    await this.#switching
  }

  /** Milliseconds to the server and back, over the link at hand. */
  ping(): Promise<number> {
    return new Promise((resolve, reject) => {
      if (!this.#session?.link) return reject(new EverwireError('link-lost', 'not connected'))
      this.#lastPing = { at: this.#options.clock.now(), resolve }
      this.#session.ping()
    })
  }

  async #probeAndAttach(transport: ClientTransport): Promise<void> {
    const { clock, linkTimeoutMs } = this.#options
    const controller = new AbortController()
    const cancel = clock.after(linkTimeoutMs, () => controller.abort())
    let probe: Probe | undefined
    try {
      probe = await transport.probe(this.#handshake(this.#gen, '', unusedUplink), controller.signal)
      cancel()
      await this.#attach(transport, linkTimeoutMs, probe)
    } catch (error) {
      probe?.close()
      if (!probe) this.#note(transport, error as EverwireError)
      // The link that was to be left may have gone meanwhile.
      if (this.#state === 'connected' && !this.#current) this.#retry(error as EverwireError)
      throw error
    } finally {
      cancel()
    }
  }

  /** Tries the transports in order until one carries the session. */
  async #round(): Promise<void> {
    const { transports, linkTimeoutMs, maxBackoffMs } = this.#options
    // A slow network must not be taken for a blocked one for ever.
    const slower = Math.min(linkTimeoutMs * 2 ** Math.min(this.#rounds, 10), maxBackoffMs)
    const timeoutMs = Math.max(linkTimeoutMs, slower)
    let error = new EverwireError('no-transport', 'no transport works in this runtime')
    try {
      await this.#fetchToken()
      for (const transport of transports) {
        if (this.#isDone()) return
        if (!transport.supported()) continue
        const offer = this.#offers.find(({ name }) => name === transport.name)
        if (offer && !offer.offered) continue
        const hadSession = this.#sessionId !== undefined
        try {
          return await this.#attach(transport, timeoutMs)
        } catch (cause) {
          error = cause as EverwireError
          const { recovery } = codeInfo(error.code)
          if (recovery === 'session') this.#lose()
          // The way works, and the server has answered: another session may be opened at once.
          if (recovery === 'session' && hadSession && !this.#isDone())
            return await this.#attach(transport, timeoutMs)
          if (recovery !== 'retry' && recovery !== 'transport') break
          if (error.retryAfterMs !== undefined) break
          if (this.#isDone()) return
          // An attach that opens a session and is not heard of would leave one behind at each try.
          if (!this.#sessionId) await this.#openSession(timeoutMs)
        }
      }
    } catch (cause) {
      error = cause as EverwireError
    }
    this.#retry(error)
  }

  async #attach(transport: ClientTransport, timeoutMs: number, probe?: Probe): Promise<void> {
    const gen = ++this.#gen
    try {
      await new Promise<void>((resolve, reject) => {
        const cancel = this.#options.clock.after(timeoutMs, () =>
          way.settle?.(new EverwireError('link-lost', `no welcome within ${timeoutMs} ms`)),
        )
        const uplink = this.#uplink((error) => fail(way, error))
        const handshake = this.#handshake(gen, randomBase32(12), uplink)
        const way: Way = {
          transport,
          gen,
          uplink,
          since: 0,
          link: idleLink,
          settle: (error) => {
            way.settle = undefined
            cancel()
            this.#opening.delete(way)
            if (!error) return resolve()
            uplink.stop()
            way.link.close(error.code, error.message)
            reject(error)
          },
        }
        this.#opening.add(way)
        const handler = {
          receive: (frame: Frame) => this.#receive(way, frame),
          drained: () => this.#session?.drained(way.link),
          closed: (code: ErrorCode, reason = '') => this.#closed(way, new EverwireError(code, reason)),
        }
        way.link = probe ? probe.attach(handshake, handler) : transport.attach(handshake, handler)
      })
    } catch (error) {
      this.#note(transport, error as EverwireError)
      throw error
    }
    this.#note(transport)
  }

  #receive(way: Way, frame: Frame): void {
    const [kind, fields] = frame.header
    if (this.#current === way) {
      if (kind === 'refuse') fail(way, refusal(frame))
      else if (kind === 'welcome') this.#welcomedAgain(way, fields as Welcome)
      else if (kind === 'stale') this.#setStale(fields !== 0)
      else if (kind === 'drain') this.#moved(fields as string | undefined)
      else this.#session?.receive(way.link, frame)
      return
    }
    if (!way.settle) return
    if (kind === 'refuse') way.settle(refusal(frame))
    else if (kind === 'welcome') this.#welcomed(way, fields as Welcome)
  }

  #welcomed(way: Way, welcome: Welcome): void {
    const { gen, from, applied } = welcome
    // A welcome for an attempt that a later one has overtaken.
    if (gen !== way.gen || (this.#current && this.#current.gen > gen)) {
      return way.settle?.(new EverwireError('stale', 'overtaken by a later attempt'))
    }
    const fresh = !this.#session
    const session = (this.#session ??= this.#begin(welcome))
    if (!agree(session, welcome))
      return way.settle?.(new EverwireError('numbering', 'the server counts otherwise'))
    const old = this.#current
    this.#current = way
    way.since = this.#options.clock.now()
    this.#welcome = { ...this.#welcome, ...welcome }
    this.#sessionId = this.#welcome.session
    this.#offers = this.#welcome.transports
    if (fresh) this.#sessions++
    else this.#resumes++
    way.uplink.start(applied + 1)
    session.bind(way.link, { receiveFrom: from, sendFrom: applied + 1 })
    old?.uplink.stop()
    old?.link.close('superseded')
    this.#watch(way)
    this.#planUpgrade()
    way.settle?.()
    this.#setStale(false)
    if (fresh) this.#handler.began(session, this.#welcome)
    this.#enter('connected', undefined, true)
  }

  /**
   * Each request of a link that is made of several is welcomed, from the cursor that it named: another than where the
   * last one ended, when the link that was left behind still brought frames meanwhile.
   */
  #welcomedAgain(way: Way, welcome: Welcome): void {
    const session = this.#session
    if (!session || welcome.gen !== way.gen || !agree(session, welcome)) return
    session.renumber(way.link, welcome.from)
    // It may have moved to another node between two requests.
    this.#welcome = { ...this.#welcome!, ...welcome }
    this.#sessionId = this.#welcome.session
  }

  /** The node gives its sessions away: this one is at another, under this id. */
  #moved(id: string | undefined): void {
    if (typeof id === 'string') this.#sessionId = id
    // Not for a server that does nothing else.
    this.#sentAway = (this.#upMs ?? 0) >= this.#options.backoffMs
  }

  #setStale(isStale: boolean): void {
    if (this.#stale === isStale) return
    this.#stale = isStale
    this.#handler.stale(isStale)
  }

  #begin({ ackFrames, ackBytes }: Welcome): Session {
    const { queueSize, queueBytes } = this.#options
    return new Session(
      // The queue above is the bound; on top come replies to the server, and what it has answered but not confirmed yet.
      {
        overflow: 'refuse',
        outboxFrames: queueSize + defaults.outboxFrames,
        outboxBytes: queueBytes + defaults.outboxBytes,
        ackFrames,
        ackBytes,
      },
      {
        frame: (frame, number) => this.#handler.frame(frame, number),
        heard: (kind) => this.#heard(kind),
        ended: (code, reason) => {
          if (this.#state === 'closed') return
          this.#current?.uplink.stop()
          this.#lose()
          this.#down(new EverwireError(code, reason))
        },
      },
    )
  }

  /** A link is over: of an attempt, of the session at hand, or one that was left behind. */
  #closed(way: Way, error: EverwireError): void {
    if (way.settle) return way.settle(error)
    if (this.#current !== way) return
    way.uplink.stop()
    this.#session?.unbind(way.link)
    const cause = way.failure ?? error
    this.#note(way.transport, cause)
    this.#down(cause)
  }

  /** The link at hand is gone. */
  #down(error: EverwireError): void {
    if (!this.#current || this.#state === 'closed') return
    this.#current = undefined
    this.#heartbeat?.stop()
    this.#cancelUpgrade()
    if (codeInfo(error.code).recovery === 'session') this.#lose()
    // Another attempt is under way, a switch for instance: it takes the session on, or comes back here.
    if (this.#opening.size === 0) this.#retry(error)
  }

  /** Comes back later: never faster than the backoff allows. */
  #retry(error: EverwireError): void {
    if (this.#isDone()) return
    const { clock, random, backoffMs, maxBackoffMs } = this.#options
    const { recovery } = codeInfo(error.code)
    if (recovery === 'stop') return this.close(error)
    if (recovery === 'token') this.#tokenKnown = false
    this.#enter('reconnecting', error)
    const backedOff = backoff(this.#rounds++, { backoffMs, maxBackoffMs, random })
    const wait = this.#sentAway ? 0 : backedOff
    this.#sentAway = false
    this.#cancelRetry()
    this.#cancelRetry = clock.after(Math.max(wait, error.retryAfterMs ?? 0), () => void this.#round())
  }

  /** The session is gone: the next attach opens another. */
  #lose(): void {
    const session = this.#session
    this.#forget()
    if (!session) return
    // What is under way would attach to a session that is gone.
    for (const way of [...this.#opening])
      way.settle?.(new EverwireError('unknown-session', 'the session is lost'))
    this.#handler.lost()
    session.link?.close('unknown-session')
  }

  #forget(): void {
    this.#session = undefined
    this.#sessionId = undefined
    this.#gen = 0
  }

  #isDone(): boolean {
    return this.#state === 'closed' || this.#session?.link !== undefined
  }

  #abandon(): void {
    for (const way of [...this.#opening]) way.settle?.(new EverwireError('closed', 'closed by the client'))
    this.#heartbeat?.stop()
  }

  #heard(kind: string | undefined): void {
    this.#heartbeat?.heard()
    if (kind !== 'pong' || !this.#lastPing) return
    const { at, resolve } = this.#lastPing
    this.#lastPing = undefined
    resolve(this.#options.clock.now() - at)
  }

  #watch(way: Way): void {
    this.#heartbeat?.stop()
    this.#heartbeat = createHeartbeat({
      clock: this.#options.clock,
      heartbeatMs: this.#welcome!.heartbeatMs,
      ping: () => this.#session?.ping(),
      dead: () => way.link.close('heartbeat-timeout', 'the server gave no sign of life'),
    })
  }

  /** While on a poorer transport, tries now and then whether a better one works. */
  #planUpgrade(): void {
    const { clock, random, upgradeIntervalMs, transports } = this.#options
    this.#cancelUpgrade()
    const better = () => {
      const at = transports.findIndex(({ name }) => name === this.transport)
      return transports.slice(0, Math.max(at, 0)).filter((transport) => transport.supported())
    }
    if (better().length === 0) return
    // Jittered, so that clients which fell together do not come back together.
    this.#cancelUpgrade = clock.after(upgradeIntervalMs * (0.5 + random()), async () => {
      for (const { name } of better())
        if (
          await this.switchTo(name).then(
            () => true,
            () => false,
          )
        )
          return
      if (this.#current) this.#planUpgrade()
    })
  }

  async #fetchToken(): Promise<void> {
    if (this.#tokenKnown || !this.#options.getToken) return
    try {
      this.#token = await this.#options.getToken()
    } catch (cause) {
      throw new EverwireError('temporary', 'getToken failed', { cause })
    }
    this.#tokenKnown = true
  }

  /** Asks for a session over plain HTTP; what it answers also tells what is on offer. */
  async #openSession(timeoutMs: number): Promise<void> {
    const { fetch, url, clock, headers } = this.#options
    const controller = new AbortController()
    const cancel = clock.after(timeoutMs, () => controller.abort())
    try {
      const response = await fetch(`${url}/session`, {
        method: 'POST',
        headers: { ...headers(), 'content-type': 'application/json' },
        body: JSON.stringify({ v: protocolVersion, token: this.#token }),
        cache: 'no-store',
        signal: controller.signal,
      })
      // A refusal is told again by the attach that follows, with its code.
      if (!response.ok) return
      const { session, transports } = JSON.parse(await response.text()) as {
        session: string
        transports: TransportOffer[]
      }
      this.#sessionId = session
      this.#offers = transports
    } catch {
      // The server cannot be reached at all, or by something that is not it: the attach that follows says so.
    } finally {
      cancel()
    }
  }

  #handshake(gen: number, place: string, uplink: Uplink): ClientHandshake {
    const { url, fetch, clock, headers } = this.#options
    return {
      url,
      fetch,
      clock,
      headers: headers(),
      attach: ({ poll = 0, waitMs }: { poll?: number; waitMs?: number } = {}): EncodedFrame => {
        const request: AttachRequest = {
          v: protocolVersion,
          gen,
          place,
          poll,
          cursor: this.#session?.received ?? 0,
          acked: this.#session?.acked ?? 0,
          ...(this.#sessionId === undefined ? {} : { session: this.#sessionId }),
          ...(this.#token === undefined ? {} : { token: this.#token }),
          ...(waitMs === undefined ? {} : { waitMs }),
        }
        return encodeFrame(['attach', request])
      },
      uplink: (frames) => uplink.send(frames),
    }
  }

  #uplink(failed: (error: EverwireError) => void): Uplink {
    const { fetch, url, headers, uplinkFrames } = this.#options
    return createUplink({
      fetch,
      url,
      headers,
      maxFrames: uplinkFrames,
      session: () => this.#sessionId,
      applied: (number) => this.#session?.acknowledge(number),
      failed,
    })
  }

  #note(transport: ClientTransport, error?: EverwireError): void {
    this.#attempts.push({
      transport: transport.name,
      at: Date.now(),
      ok: !error,
      reason: error ? error.message : 'attached',
      ...(error ? { code: codeOf(error) } : {}),
    })
    if (this.#attempts.length > maxAttempts) this.#attempts.shift()
  }

  #enter(state: ConnectionState, error?: EverwireError, moved = false): void {
    if (state === 'connected') this.#rounds = 0
    if (this.#state === state && !error && !moved) return
    this.#state = state
    this.#handler.state(state, error)
  }
}

/**
 * Takes over what the server says to have applied. That may be less than is confirmed already: a later answer of the
 * uplink comes another way, and may be quicker.
 * @returns false when the server counts otherwise; the session has ended then
 */
function agree(session: Session, { from, applied }: Welcome): boolean {
  if (from > session.received + 1)
    session.end('numbering', `welcomed from ${from}, here it is ${session.received + 1}`)
  else session.acknowledge(applied)
  return !session.ended
}

/** Closes a link for a reason that may name a time to wait. */
function fail(way: Way, error: EverwireError): void {
  way.failure ??= error
  way.link.close(error.code, error.message)
}

const idleLink: Link = { transport: '', bufferedBytes: 0, send: () => true, close() {} }

const unusedUplink: Uplink = { start() {}, send: () => true, stop() {} }

function sentence(
  state: ConnectionState,
  transport: string | undefined,
  attempts: readonly Attempt[],
  transports: readonly ClientTransport[],
): string {
  if (transport === undefined) {
    const last = attempts.at(-1)
    return last && !last.ok ? `${state}: ${last.transport} failed, ${last.reason}` : state
  }
  const better = transports.slice(
    0,
    transports.findIndex(({ name }) => name === transport),
  )
  if (better.length === 0) return `${transport}, the first choice`
  const reasons = better.map((one) => {
    if (!one.supported()) return `${one.name} is not supported here`
    const failure = [...attempts].reverse().find((attempt) => attempt.transport === one.name && !attempt.ok)
    return failure ? `${one.name} failed: ${failure.reason}` : `${one.name} was not tried`
  })
  return `${transport}, because ${reasons.join('; ')}`
}
