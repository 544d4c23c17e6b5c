import {
  backoff,
  codeOf,
  createHeartbeat,
  createSession,
  encodeFrame,
  EverwireError,
  protocolVersion,
  randomBase32,
  recoveryOf,
  refusal,
  type AttachRequest,
  type Cancel,
  type ClientHandshake,
  type ClientTransport,
  type ErrorCode,
  type Fetch,
  type Frame,
  type Heartbeat,
  type Link,
  type LinkHandler,
  type Probe,
  type Session,
  type TransportOffer,
  type Welcome,
} from '@everwire/core'
import * as defaults from '@everwire/core/limits'
import type { Attempt, Carrier, CarrierHandler, ConnectionState } from './carrier.js'
import { explain } from './explain.js'
import { createNegotiator, type NegotiatorOptions } from './negotiator.js'
import { onPageEvents } from './page-events.js'
import { race } from './race.js'

export interface ConnectorOptions extends NegotiatorOptions {
  fetch: Fetch
  random: () => number
  headers: Readonly<Record<string, string>>
  getToken: (() => string | undefined | Promise<string | undefined>) | undefined
  linkTimeoutMs: number
  staggerMs: number
  backoffMs: number
  maxBackoffMs: number
  upgradeIntervalMs: number
  queueSize: number
  queueBytes: number
}

/** A link that is being opened, or is attached. */
interface Way {
  transport: ClientTransport
  gen: number
  link: Link
  /** Settles the attempt; missing once it is settled. */
  settle: ((error?: EverwireError) => void) | undefined
  since: number
  /** A ping has come back. */
  isProven: boolean
  /** Why this end closes it, where the code alone does not say. */
  failure?: EverwireError
}

const maxAttempts = 20
/** A link that breaks sooner was no good. */
const earlyMs = 5_000
const tokenTimeoutMs = 10_000

/** Keeps a session attached: has a transport chosen, attaches, falls back, comes back, and goes up again. */
export function createConnector(options: ConnectorOptions, handler: CarrierHandler): Carrier {
  const { url, transports, clock, fetch, random, headers, getToken } = options
  const { linkTimeoutMs, backoffMs, maxBackoffMs } = options
  const negotiator = createNegotiator(options)
  const attempts: Attempt[] = []
  const opening = new Set<Way>()
  /** What failed in this round, and why: it is set back when another works. */
  const failed = new Map<string, string>()
  let state: ConnectionState = 'idle'
  let session: Session | undefined
  let sessionId: string | undefined
  let welcome: Welcome | undefined
  let token: string | undefined
  let isTokenKnown = false
  let isTokenFresh = false
  let gen = 0
  /** An attach without a session opens one; a second could leave the first behind. */
  let mayOpenByAttach = true
  let current: Way | undefined
  let heartbeat: Heartbeat | undefined
  let lastHeard = 0
  let rounds = 0
  let roundAt = 0
  let inRound = false
  let notBefore = 0
  let cancelRetry: Cancel | undefined
  let cancelUpgrade: Cancel = () => {}
  let lastPing: { at: number; resolve(ms: number): void } | undefined
  let switching: Promise<void> | undefined
  let isStale = false
  /** The session has moved: the next attach need not wait. */
  let isSentAway = false
  let isHidden = false
  let sessions = 0
  let resumes = 0

  const isDone = () => state === 'closed' || session?.link !== undefined
  const upMs = () => current && clock.now() - current.since

  const enter = (to: ConnectionState, error?: EverwireError, isMoved = false) => {
    if (state === to && !error && !isMoved) return
    state = to
    handler.state(to, error)
  }

  const note = (transport: ClientTransport, error?: EverwireError) => {
    attempts.push({
      transport: transport.name,
      at: Date.now(),
      ok: !error,
      reason: error ? error.message : 'attached',
      ...(error ? { code: codeOf(error) } : {}),
    })
    if (attempts.length > maxAttempts) attempts.shift()
  }

  const forget = () => {
    session = sessionId = undefined
    gen = 0
    mayOpenByAttach = true
  }

  /** The session is gone: the next attach opens another. */
  const lose = () => {
    const lost = session
    forget()
    if (!lost) return
    // What is under way would attach to a session that is gone.
    for (const way of [...opening]) way.settle?.(new EverwireError('unknown-session', 'the session is lost'))
    handler.lost()
    lost.link?.close('unknown-session')
  }

  const close = (error = new EverwireError('closed', 'closed by the client')) => {
    if (state === 'closed') return
    cancelRetry?.()
    cancelUpgrade()
    offPage()
    const ending = session
    enter('closed', error)
    for (const way of [...opening]) way.settle?.(new EverwireError('closed', 'closed by the client'))
    heartbeat?.stop()
    current = undefined
    ending?.end('closed', 'by the client')
    forget()
  }

  /** Comes back later: never faster than the backoff allows. */
  const retry = (error: EverwireError) => {
    if (isDone()) return
    const recovery = recoveryOf(error.code)
    if (recovery === 'stop') return close(error)
    let wait = isSentAway ? 0 : backoff(rounds++, { backoffMs, maxBackoffMs, random })
    isSentAway = false
    if (recovery === 'token') {
      // The first new token is used at once; one that is refused too is the server's affair.
      if (isTokenKnown && !isTokenFresh) wait = 0
      isTokenFresh = true
      isTokenKnown = false
    }
    notBefore = clock.now() + (error.retryAfterMs ?? 0)
    enter('reconnecting', error)
    again(wait)
  }

  const again = (wait: number) => {
    if (isHidden || isDone()) return
    cancelRetry?.()
    cancelRetry = clock.after(Math.max(wait, notBefore - clock.now()), () => void round())
  }

  /** The link at hand is gone. */
  const down = (error: EverwireError) => {
    if (!current || state === 'closed') return
    const { transport, since } = current
    const lived = clock.now() - since
    current = undefined
    heartbeat?.stop()
    cancelUpgrade()
    const isCut = error.code === 'link-lost' && error.retryAfterMs === undefined && !isHidden
    const wasIdle = isCut && negotiator.fell(clock.now() - lastHeard)
    if (lived >= earlyMs) negotiator.lasted(transport.name)
    else if ((isCut && !wasIdle) || error.code === 'heartbeat-timeout')
      negotiator.brokeEarly(transport.name, `it opened, and broke after ${Math.round(lived)} ms`)
    // Who connects only to break is no reason to come back faster.
    if (lived >= Math.min(backoffMs * 2 ** rounds, maxBackoffMs)) {
      rounds = 0
      isTokenFresh = false
    }
    if (recoveryOf(error.code) === 'session') lose()
    // Another attempt is under way, a switch for instance: it takes the session on, or comes back here.
    if (opening.size === 0) retry(error)
  }

  /** A link is over: of an attempt, of the session at hand, or one that was left behind. */
  const closed = (way: Way, error: EverwireError) => {
    if (way.settle) return way.settle(error)
    if (current !== way) return
    session?.unbind(way.link)
    const cause = way.failure ?? error
    note(way.transport, cause)
    down(cause)
  }

  /** Closes a link for a reason that may name a time to wait. */
  const fail = (way: Way, error: EverwireError) => {
    way.failure ??= error
    way.link.close(error.code, error.message)
  }

  const setStale = (to: boolean) => {
    if (isStale === to) return
    isStale = to
    handler.stale(to)
  }

  const heard = (kind: string | undefined) => {
    lastHeard = clock.now()
    heartbeat?.heard()
    if (kind !== 'pong') return
    if (current && !current.isProven) {
      current.isProven = true
      for (const [name, reason] of failed) negotiator.setBack(name, reason)
      failed.clear()
      negotiator.worked(current.transport.name)
    }
    lastPing?.resolve(clock.now() - lastPing.at)
    lastPing = undefined
  }

  const begin = ({ ackFrames, ackBytes }: Welcome) =>
    createSession(
      // The queue above is the bound; on top come replies to the server, and what it has answered but not confirmed yet.
      {
        outboxFrames: options.queueSize + defaults.outboxFrames,
        outboxBytes: options.queueBytes + defaults.outboxBytes,
        ackFrames,
        ackBytes,
      },
      {
        frame: handler.frame,
        heard,
        ended(code, reason) {
          if (state === 'closed') return
          lose()
          down(new EverwireError(code, reason))
        },
      },
    )

  /**
   * Takes over what the server says to have applied. That may be less than is confirmed already: a later answer of the
   * uplink comes another way, and may be quicker.
   * @returns false when the server counts otherwise; the session has ended then
   */
  const agree = (session: Session, { from, applied }: Welcome): boolean => {
    if (from > session.received + 1)
      session.end('numbering', `welcomed from ${from}, here it is ${session.received + 1}`)
    else session.acknowledge(applied)
    return !session.ended
  }

  const watch = ({ link }: Way, timeoutMs: number) => {
    heartbeat?.stop()
    heartbeat = createHeartbeat({
      clock,
      // Two beats may pass before silence is broken.
      heartbeatMs: Math.min(welcome!.heartbeatMs, Math.ceil(negotiator.idleMs * 0.4)),
      ping: () => session?.ping(),
      dead: () => link.close('heartbeat-timeout', 'the server gave no sign of life'),
    })
    // It counts only when a ping has come back.
    heartbeat.probe(timeoutMs)
  }

  const welcomed = (way: Way, answer: Welcome, timeoutMs: number) => {
    // A welcome for an attempt that a later one has overtaken.
    if (answer.gen !== way.gen || (current && current.gen > answer.gen))
      return way.settle?.(new EverwireError('stale', 'overtaken by a later attempt'))
    const isFresh = !session
    const bound = (session ??= begin(answer))
    if (!agree(bound, answer))
      return way.settle?.(new EverwireError('numbering', 'the server counts otherwise'))
    const old = current
    current = way
    way.since = lastHeard = clock.now()
    welcome = { ...welcome, ...answer }
    sessionId = welcome.session
    negotiator.offered(welcome.transports)
    if (isFresh) sessions++
    else resumes++
    bound.bind(way.link, { receiveFrom: answer.from, sendFrom: answer.applied + 1 })
    old?.link.close('superseded')
    way.settle?.()
    setStale(false)
    if (isFresh) handler.began(bound, welcome)
    if (current !== way) return
    watch(way, timeoutMs)
    planUpgrade()
    enter('connected', undefined, true)
  }

  const receive = (way: Way, frame: Frame, timeoutMs: number) => {
    const [kind, fields] = frame.header
    if (current !== way) {
      if (kind === 'refuse') way.settle?.(refusal(frame))
      else if (kind === 'welcome' && way.settle) welcomed(way, fields as Welcome, timeoutMs)
    } else if (kind === 'refuse') fail(way, refusal(frame))
    else if (kind === 'stale') setStale(fields !== 0)
    else if (kind === 'drain') {
      // The node gives its sessions away: this one is at another, under this id.
      if (typeof fields === 'string') sessionId = fields
      // Not for a server that does nothing else.
      isSentAway = upMs()! >= backoffMs
    } else if (kind === 'welcome') {
      const answer = fields as Welcome
      heard(kind)
      // Each request of a link that is made of several is welcomed, from the cursor that it named: another than where
      // the last one ended, when the link that was left behind still brought frames meanwhile.
      if (!session || answer.gen !== way.gen || !agree(session, answer)) return
      session.renumber(way.link, answer.from)
      // It may have moved to another node between two requests.
      welcome = { ...welcome!, ...answer }
      sessionId = welcome.session
    } else session?.receive(way.link, frame)
  }

  const handshake = (gen: number): ClientHandshake => {
    const place = randomBase32(12)
    return {
      url,
      fetch,
      clock,
      headers,
      get idleMs() {
        return negotiator.idleMs
      },
      attach({ poll = 0, waitMs } = { poll: 0 }) {
        const request: AttachRequest = {
          v: protocolVersion,
          gen,
          place,
          poll,
          cursor: session?.received ?? 0,
          acked: session?.acked ?? 0,
          ...(sessionId === undefined ? {} : { session: sessionId }),
          ...(token === undefined ? {} : { token }),
          ...(waitMs === undefined ? {} : { waitMs }),
        }
        return encodeFrame(['attach', request])
      },
      session: () => sessionId,
      applied: (number) => session?.acknowledge(number),
    }
  }

  /** Goes on with the session over a new link, or opens one; rejects when it is not welcomed in time. */
  const attach = async (
    transport: ClientTransport,
    timeoutMs: number,
    { probe, signal }: { probe?: Probe; signal?: AbortSignal } = {},
  ): Promise<void> => {
    const own = ++gen
    mayOpenByAttach = false
    try {
      await new Promise<void>((resolve, reject) => {
        const expire = () => way.settle?.(new EverwireError('link-lost', `no welcome within ${timeoutMs} ms`))
        const cancel = clock.after(timeoutMs, expire)
        const way: Way = {
          transport,
          gen: own,
          since: 0,
          isProven: false,
          link: idleLink,
          settle(error) {
            way.settle = undefined
            cancel()
            opening.delete(way)
            if (!error) return resolve()
            way.link.close(error.code, error.message)
            reject(error)
          },
        }
        opening.add(way)
        signal?.addEventListener('abort', () =>
          way.settle?.(new EverwireError('link-lost', 'no welcome while another worked')),
        )
        const hears: LinkHandler = {
          receive: (frame) => receive(way, frame, timeoutMs),
          drained: () => session?.drained(way.link),
          closed: (code: ErrorCode, reason, retryAfterMs) =>
            closed(way, new EverwireError(code, reason, { retryAfterMs })),
        }
        way.link = (probe ?? transport).attach(handshake(own), hears)
      })
    } catch (cause) {
      const error = asError(cause)
      note(transport, error)
      failed.set(transport.name, error.message)
      throw error
    }
    note(transport)
  }

  /** Tries a way, and attaches nothing. */
  const tryOut = async (
    transport: ClientTransport,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Probe> => {
    const controller = new AbortController()
    const abort = () => controller.abort()
    const started = clock.now()
    signal?.addEventListener('abort', abort)
    const cancel = clock.after(timeoutMs, abort)
    try {
      return await transport.probe(handshake(0), controller.signal)
    } catch (cause) {
      const error = controller.signal.aborted
        ? new EverwireError('link-lost', `no answer within ${Math.round(clock.now() - started)} ms`)
        : asError(cause)
      // Who had less time than another would have been given says nothing.
      if (!signal?.aborted || clock.now() - started >= options.staggerMs) {
        note(transport, error)
        failed.set(transport.name, error.message)
      }
      throw error
    } finally {
      cancel()
    }
  }

  /** Asks for a session over plain HTTP; what it answers also tells what is on offer. */
  const openSession = async (timeoutMs: number): Promise<void> => {
    const controller = new AbortController()
    const cancel = clock.after(timeoutMs, () => controller.abort())
    try {
      const response = await fetch(`${url}/session`, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: JSON.stringify({ v: protocolVersion, token }),
        cache: 'no-store',
        signal: controller.signal,
      })
      // A refusal is told again by the attach that follows, with its code.
      if (!response.ok) return
      const answer = JSON.parse(await response.text()) as { session: string; transports: TransportOffer[] }
      negotiator.offered(answer.transports)
      sessionId ??= answer.session
    } catch {
      // The server cannot be reached at all, or by something that is not it: the attach that follows says so.
    } finally {
      cancel()
    }
  }

  const fetchToken = async (): Promise<void> => {
    if (isTokenKnown || !getToken) return
    try {
      token = await new Promise<string | undefined>((resolve, reject) => {
        const cancel = clock.after(tokenTimeoutMs, () =>
          reject(new EverwireError('temporary', `no token within ${tokenTimeoutMs} ms`)),
        )
        void (async () => await getToken())().then(resolve, reject).finally(cancel)
      })
    } catch (cause) {
      // The application's own word counts: `unauthorized` ends it.
      throw cause instanceof EverwireError
        ? cause
        : new EverwireError('temporary', 'getToken failed', { cause })
    }
    isTokenKnown = true
  }

  /** One transport after the other, staggered, until one carries the session. */
  const choose = async (timeoutMs: number): Promise<void> => {
    let candidates = negotiator.candidates()
    let last = new EverwireError('no-transport', 'no transport works here')
    while (candidates.length > 0) {
      if (!sessionId && !mayOpenByAttach) await openSession(timeoutMs)
      const isFirstTry = candidates.length > 0 && failed.size === 0
      try {
        const [transport, probe] = await race<ClientTransport, Probe | undefined>(candidates, {
          clock,
          staggerMs: options.staggerMs,
          isFinal: (error) => isFinal(asError(error)) || isDone(),
          discard: (probe) => probe?.close(),
          // The first attaches at once, which saves a round trip; who starts beside it only tries the way.
          attempt: (candidate, isFirst, signal) =>
            isFirst && isFirstTry
              ? attach(candidate, timeoutMs, { signal }).then(() => undefined)
              : tryOut(candidate, timeoutMs, signal),
        })
        if (!probe || isDone()) return probe?.close()
        if (!sessionId) await openSession(timeoutMs)
        if (isDone()) return probe.close()
        return await attach(transport, timeoutMs, { probe })
      } catch (error) {
        last = asError(error)
        if (isFinal(last) || isDone()) break
        candidates = negotiator.candidates().filter(({ name }) => !failed.has(name))
      }
    }
    throw last
  }

  const round = async (): Promise<void> => {
    if (inRound || isDone()) return
    inRound = true
    cancelRetry = undefined
    roundAt = clock.now()
    // A slow network must not be taken for a blocked one for ever.
    const timeoutMs = Math.max(
      linkTimeoutMs,
      Math.min(linkTimeoutMs * 2 ** Math.min(rounds, 10), maxBackoffMs),
    )
    const hadSession = session !== undefined
    failed.clear()
    try {
      await fetchToken()
      await choose(timeoutMs).catch(async (cause: unknown) => {
        const { code } = asError(cause)
        if (recoveryOf(code) !== 'session') throw cause
        lose()
        // The way works, and the server has answered: another session may be opened at once.
        if (!hadSession || isDone()) throw cause
        failed.clear()
        await choose(timeoutMs)
      })
      inRound = false
    } catch (cause) {
      inRound = false
      retry(asError(cause))
    }
  }

  /** Moves to another transport while the link at hand goes on. */
  const move = async (transport: ClientTransport): Promise<void> => {
    let probe: Probe | undefined
    try {
      probe = await tryOut(transport, linkTimeoutMs)
      await attach(transport, linkTimeoutMs, { probe })
    } catch (error) {
      probe?.close()
      // The link that was to be left may have gone meanwhile.
      if (state === 'connected' && !current) retry(asError(error))
      throw error
    }
  }

  const switchTo = async (name: string): Promise<void> => {
    const transport = transports.find((one) => one.name === name)
    if (!transport?.supported()) throw new EverwireError('no-transport', `there is no transport ${name} here`)
    if (switching) {
      await switching.catch(() => {})
      return await switchTo(name)
    }
    if (current?.transport === transport) return
    if (!session?.link) throw new EverwireError('link-lost', 'not connected: there is nothing to switch from')
    switching = move(transport).finally(() => {
      switching = undefined
    })
    await switching
  }

  /** While on a poorer transport, tries now and then whether a better one works. */
  const planUpgrade = () => {
    cancelUpgrade()
    const better = () => {
      const verdicts = negotiator.verdicts(current?.transport.name)
      return verdicts.slice(
        0,
        verdicts.findIndex(({ use }) => use === 'used'),
      )
    }
    if (!better().some(({ use }) => use !== 'unsupported')) return
    // Jittered, so that clients which fell together do not come back together.
    cancelUpgrade = clock.after(options.upgradeIntervalMs * (0.5 + random()), async () => {
      const from = current
      for (const { name, use } of better()) {
        if (use !== 'possible') continue
        try {
          return await switchTo(name)
        } catch (error) {
          if (current === from) negotiator.setBack(name, asError(error).message)
        }
      }
      if (current) planUpgrade()
    })
  }

  const offPage = onPageEvents({
    look(isAnotherNetwork) {
      if (isAnotherNetwork) negotiator.forgetSetBacks()
      if (current) heartbeat!.probe(linkTimeoutMs)
      else if (cancelRetry) again(Math.max(0, roundAt + backoffMs - clock.now()))
    },
    hide(isKept) {
      if (!isKept) return close(new EverwireError('closed', 'the page was left'))
      // A page with an open connection could not be kept.
      isHidden = true
      cancelRetry?.()
      current?.link.close('link-lost', 'the page is hidden')
    },
    show() {
      isHidden = false
      if (state !== 'idle') again(0)
    },
  })

  return {
    get state() {
      return state
    },
    get transport() {
      return current?.transport.name
    },
    get stale() {
      return isStale
    },
    get userId() {
      return welcome?.userId
    },
    connect() {
      if (state !== 'idle') return
      enter('connecting')
      void round()
    },
    close,
    switchTo,
    ping: () =>
      new Promise((resolve, reject) => {
        if (!session?.link) return reject(new EverwireError('link-lost', 'not connected'))
        lastPing = { at: clock.now(), resolve }
        session.ping()
      }),
    explain: () => explain(state, upMs(), negotiator.verdicts(current?.transport.name), [...attempts]),
    stats: () => ({ received: session?.received ?? 0, sent: session?.sent ?? 0, sessions, resumes }),
  }
}

const asError = (error: unknown): EverwireError =>
  error instanceof EverwireError ? error : new EverwireError('internal', String(error), { cause: error })

/** Another transport would hear the same. */
const isFinal = ({ code, retryAfterMs }: EverwireError): boolean => {
  const recovery = recoveryOf(code)
  return retryAfterMs !== undefined || (recovery !== 'retry' && recovery !== 'transport')
}

const idleLink: Link = { transport: '', bufferedBytes: 0, send: () => true, close() {} }
