import {
  backoff,
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
  type Probe,
  type Session,
  type Welcome,
} from '@everwire/core'
import * as defaults from '@everwire/core/limits'
import type { Attempt, Carrier, CarrierHandler, ConnectionState } from './carrier.js'
import { explain } from './explain.js'
import { createNegotiator, type NegotiatorOptions } from './negotiator.js'
import { onPageEvents, pageLeft } from './page-events.js'
import { race } from './race.js'
import { within } from './within.js'

export interface ConnectorOptions extends NegotiatorOptions {
  fetch: Fetch
  random: () => number
  headers: Readonly<Record<string, string>>
  getToken?: () => string | undefined | Promise<string | undefined>
  linkTimeoutMs: number
  staggerMs: number
  backoffMs: number
  maxBackoffMs: number
  queueSize: number
  queueBytes: number
}

/** A link that is being opened, or is attached. */
interface Way {
  /** What it goes on with; missing when it opens a session. */
  readonly session: Session | undefined
  readonly transport: ClientTransport
  readonly gen: number
  /** How long it may take to be welcomed, and to answer the first ping. */
  readonly timeoutMs: number
  link?: Link
  /** Ends the attempt; missing once it has ended. */
  settle: ((error?: EverwireError) => void) | undefined
  since: number
  /** A ping has come back. */
  isProven?: boolean
  /** Why this end closes it, where the code alone does not say. */
  failure?: EverwireError
}

const maxAttempts = 20
/** A link that breaks sooner was no good. */
const earlyMs = 5_000
/** After which the application is asked again; people log in meanwhile. */
const tokenTimeoutMs = 60_000
/** Whoever says how long to wait may be mistaken, or something on the way. */
const maxWaitMs = 3_600_000

/** Keeps a session attached: has a transport chosen, attaches, falls back, comes back, and goes up again. */
export function createConnector(options: ConnectorOptions, handler: CarrierHandler): Carrier {
  const { url, transports, clock, backoffMs, maxBackoffMs, linkTimeoutMs } = options
  const negotiator = createNegotiator(options)
  const attempts: Attempt[] = []
  const opening = new Set<Way>()
  /** What failed in this round, and why: it is set back when another works. */
  const failed = new Map<string, string>()
  const life = new AbortController()
  /** Everything that is being tried; ends when the page is hidden, too. */
  let trying = new AbortController()
  let state: ConnectionState = 'idle'
  let session: Session | undefined
  let sessionId: string | undefined
  let welcome: Welcome | undefined
  let token: string | undefined
  let isTokenKnown = false
  let isTokenFresh = false
  let gen = 0
  let current: Way | undefined
  let heartbeat: Heartbeat | undefined
  let lastHeard = 0
  let rounds = 0
  let roundAt = 0
  let inRound = false
  let notBefore = 0
  let cancelRetry: Cancel | undefined
  let cancelUpgrade: Cancel | undefined
  let answered: (error?: EverwireError) => void = () => {}
  let switching: Promise<unknown> | undefined
  let stale = false
  /** The session has moved, or is lost: the next attach need not wait. */
  let isAtOnce = false
  let isHidden = false
  let sessions = 0
  let resumes = 0

  /** Another transport would hear the same, or none need try. */
  const isFinal = ({ code, retryAfterMs }: EverwireError) =>
    isDone() || retryAfterMs !== undefined || !['retry', 'transport'].includes(recoveryOf(code))
  const isDone = () => state === 'closed' || isHidden || session?.link !== undefined
  const upMs = () => current && clock.now() - current.since
  const verdicts = () => negotiator.verdicts(current?.transport.name)

  const enter = (to: ConnectionState, error?: EverwireError) => {
    state = to
    handler.state(to, error)
  }

  const note = ({ name }: ClientTransport, error?: EverwireError) => {
    const reason = error ? error.message : 'attached'
    attempts.push({ transport: name, at: Date.now(), ok: !error, reason, code: error?.code })
    if (attempts.length > maxAttempts) attempts.shift()
  }

  /** What is under way would attach to a session that is gone. */
  const forget = (code: ErrorCode) => {
    session = sessionId = undefined
    gen = 0
    for (const way of [...opening]) way.settle?.(new EverwireError(code))
  }

  /** The session is gone: the next attach opens another. */
  const lose = () => {
    const lost = session
    forget('unknown-session')
    if (!lost) return
    handler.lost()
    lost.link?.close('unknown-session')
  }

  const close = (error = new EverwireError('closed')) => {
    if (state === 'closed') return
    cancelRetry?.()
    cancelUpgrade?.()
    life.abort()
    trying.abort()
    answered(error)
    const ending = session
    enter('closed', error)
    forget('closed')
    heartbeat?.stop()
    current = undefined
    ending?.end('closed')
  }

  /** Comes back later: never faster than the backoff allows. */
  const retry = (error: EverwireError) => {
    if (state === 'closed' || session?.link) return
    const recovery = recoveryOf(error.code)
    if (recovery === 'stop') return close(error)
    let wait = isAtOnce ? 0 : backoff(rounds++, options)
    isAtOnce = false
    if (recovery === 'token') {
      // The first new token is used at once; one that is refused too is the server's affair.
      if (!isTokenFresh) wait = 0
      isTokenFresh = true
      isTokenKnown = false
    }
    notBefore = clock.now() + Math.min(error.retryAfterMs ?? 0, maxWaitMs)
    enter('reconnecting', error)
    again(wait)
  }

  const again = (wait: number) => {
    if (isDone()) return
    cancelRetry?.()
    cancelRetry = clock.after(Math.max(0, wait, notBefore - clock.now()), round)
  }

  /** The link at hand is gone. */
  const down = (error: EverwireError) => {
    if (!current) return
    const { name } = current.transport
    const lived = upMs()!
    current = undefined
    heartbeat!.stop()
    cancelUpgrade?.()
    answered(error)
    const isCut = error.code === 'link-lost' && error.retryAfterMs === undefined && !isHidden
    const wasIdle = isCut && negotiator.fell(clock.now() - lastHeard)
    if (lived >= earlyMs) negotiator.lasted(name)
    else if ((isCut && !wasIdle) || error.code === 'heartbeat-timeout')
      negotiator.brokeEarly(name, `it broke after ${Math.round(lived)} ms`)
    // Who connects only to break is no reason to come back faster.
    if (lived >= Math.min(backoffMs * 2 ** rounds, maxBackoffMs)) {
      rounds = 0
      isTokenFresh = false
    }
    if (recoveryOf(error.code) === 'session') lose()
    // Another attempt is under way, a switch for instance: it takes the session on, or comes back here.
    if (!opening.size) retry(error)
  }

  /** A link is over: of an attempt, of the session at hand, or one that was left behind. */
  const closed = (way: Way, error: EverwireError) => {
    const cause = way.failure ?? error
    if (way.settle) return way.settle(cause)
    if (current !== way) return
    session?.unbind(way.link!)
    note(way.transport, cause)
    down(cause)
  }

  const setStale = (to: boolean) => {
    if (stale === to) return
    stale = to
    handler.stale(to)
  }

  const heard = (kind?: string) => {
    lastHeard = clock.now()
    heartbeat?.heard()
    if (kind !== 'pong') return
    if (current && !current.isProven) {
      current.isProven = true
      for (const [name, reason] of failed) negotiator.setBack(name, reason)
      failed.clear()
      negotiator.worked(current.transport.name)
    }
    answered()
    answered = () => {}
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

  const watch = ({ link, timeoutMs }: Way) => {
    heartbeat?.stop()
    heartbeat = createHeartbeat({
      clock,
      // Two beats may pass before silence is broken.
      heartbeatMs: Math.min(welcome!.heartbeatMs, Math.ceil(negotiator.idleMs * 0.4)),
      ping: () => session?.ping(),
      dead: () => link!.close('heartbeat-timeout'),
    })
    // It counts only when a ping has come back.
    heartbeat.probe(timeoutMs)
  }

  /** A way is welcomed; or each request of a link that is made of several, from the cursor that it named. */
  const welcomed = (way: Way, answer: Welcome) => {
    const link = way.link!
    // For an attempt that a later one has overtaken, or of a session that was lost meanwhile.
    if (
      answer.gen !== way.gen ||
      (current && current.gen > way.gen) ||
      (way.settle && way.session !== session)
    )
      return way.settle?.(new EverwireError('stale'))
    heard()
    const isFresh = !session
    const bound = (session ??= begin(answer))
    if (answer.from > bound.received + 1) bound.end('numbering')
    // It may say less than is confirmed already: a later answer of the uplink comes another way, and may be quicker.
    else bound.acknowledge(answer.applied)
    if (bound.ended) return way.settle?.(new EverwireError('numbering'))
    // It may have moved to another node between two requests.
    welcome = { ...welcome, ...answer }
    sessionId = welcome.session
    // Another cursor than where the last request ended: the link that was left behind still brought frames meanwhile.
    if (current === way) return bound.renumber(link, answer.from)
    const old = current
    current = way
    way.since = clock.now()
    negotiator.offered(welcome.transports)
    if (isFresh) sessions++
    else resumes++
    bound.bind(link, { receiveFrom: answer.from, sendFrom: answer.applied + 1 })
    old?.link!.close('superseded')
    way.settle?.()
    setStale(false)
    if (isFresh) handler.began(bound, welcome)
    if (current !== way) return
    watch(way)
    planUpgrade()
    enter('connected')
  }

  const receive = (way: Way, frame: Frame) => {
    const [kind, fields] = frame.header
    if (current !== way && !way.settle) return
    if (kind === 'refuse') {
      // Kept, because closing a link does not tell how long to wait.
      way.failure = refusal(frame)
      way.link!.close(way.failure.code)
    } else if (kind === 'welcome') welcomed(way, fields as Welcome)
    else if (kind === 'stale') {
      heard()
      setStale(fields !== 0)
    } else if (kind === 'drain') {
      // The node gives its sessions away: this one is at another, under this id.
      if (fields) sessionId = fields as string
      // Not for a server that does nothing else.
      isAtOnce = upMs()! >= backoffMs
    } else session?.receive(way.link!, frame)
  }

  const handshake = (gen: number): ClientHandshake => {
    const place = randomBase32(12)
    return {
      ...options,
      get idleMs() {
        return negotiator.idleMs
      },
      attach: ({ poll = 0, waitMs } = { poll: 0 }) =>
        encodeFrame([
          'attach',
          {
            v: protocolVersion,
            gen,
            place,
            poll,
            cursor: session?.received ?? 0,
            acked: session?.acked ?? 0,
            session: sessionId,
            token,
            waitMs,
          } satisfies { [Key in keyof AttachRequest]: AttachRequest[Key] | undefined },
        ]),
      session: () => sessionId,
      applied: (number) => session?.acknowledge(number),
    }
  }

  /** Tries something of a transport, and notes when it fails. */
  const attempt = async <T>(
    transport: ClientTransport,
    timeoutMs: number,
    outer: AbortSignal | undefined,
    run: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const started = clock.now()
    try {
      return await within(clock, timeoutMs, run, outer)
    } catch (cause) {
      const error = asError(cause)
      // Who had less time than another would have been given says nothing.
      if (!outer?.aborted || clock.now() - started >= options.staggerMs) {
        note(transport, error)
        failed.set(transport.name, error.message)
      }
      throw error
    }
  }

  /** Tries a way, and attaches nothing. */
  const tryOut = (transport: ClientTransport, timeoutMs: number, outer?: AbortSignal): Promise<Probe> =>
    attempt(transport, timeoutMs, outer, (signal) => transport.probe(handshake(0), signal))

  /** Goes on with the session over a new link, or opens one; rejects when it is not welcomed in time. */
  const attach = (
    transport: ClientTransport,
    timeoutMs: number,
    from: Pick<Probe, 'attach'>,
    outer?: AbortSignal,
  ): Promise<void> =>
    attempt(
      transport,
      timeoutMs,
      outer,
      (signal) =>
        new Promise((resolve, reject) => {
          if (state === 'closed' || isHidden) throw new EverwireError('closed')
          const way: Way = {
            session,
            transport,
            gen: ++gen,
            timeoutMs,
            since: 0,
            settle(error) {
              way.settle = undefined
              opening.delete(way)
              if (!error) {
                note(transport)
                return resolve()
              }
              reject(error)
              way.link?.close(error.code)
            },
          }
          opening.add(way)
          signal.addEventListener('abort', () => way.settle?.(new EverwireError('link-lost')))
          try {
            way.link = from.attach(handshake(gen), {
              receive: (frame) => receive(way, frame),
              drained: () => session?.drained(way.link!),
              closed: (code, reason, retryAfterMs) =>
                closed(way, new EverwireError(code, reason, { retryAfterMs })),
            })
          } catch (error) {
            // A browser that refuses to open a socket from a page does it so.
            way.settle?.(asError(error))
          }
        }),
    )

  /** Asks for a session over plain HTTP; what it answers also tells what is on offer. */
  const openSession = async (timeoutMs: number): Promise<void> => {
    if (sessionId) return
    await within(
      clock,
      timeoutMs,
      async (signal) => {
        const response = await options.fetch(`${url}/session`, {
          method: 'POST',
          headers: { ...options.headers, 'content-type': 'application/json' },
          body: JSON.stringify({ v: protocolVersion, token }),
          cache: 'no-store',
          signal,
        })
        // A refusal is told again by the attach that follows, with its code.
        if (!response.ok) return
        const { session, transports } = JSON.parse(await response.text()) as Welcome
        negotiator.offered(transports)
        if (typeof session === 'string' && !isDone()) sessionId ??= session
        // The server cannot be reached at all, or by something that is not it: the attach that follows says so.
      },
      trying.signal,
    ).catch(() => {})
  }

  /** One transport after the other, staggered, until one carries the session. */
  const choose = async (timeoutMs: number): Promise<void> => {
    if (!isTokenKnown) token = await within(clock, tokenTimeoutMs, () => options.getToken?.(), life.signal)
    isTokenKnown = true
    let last = new EverwireError('no-transport')
    for (;;) {
      const candidates = negotiator.candidates().filter(({ name }) => !failed.has(name))
      if (!candidates.length) throw last
      // An attach without a session opens one; a second could leave the first behind.
      if (gen) await openSession(timeoutMs)
      // The first attaches at once, which saves a round trip; who starts beside it only tries the way.
      const first = failed.size ? undefined : candidates[0]
      try {
        const [transport, probe] = await race<ClientTransport, Probe | void>(candidates, {
          clock,
          staggerMs: options.staggerMs,
          outer: trying.signal,
          isFinal,
          discard: (probe) => probe?.close(),
          attempt: (candidate, signal) =>
            candidate === first
              ? attach(candidate, timeoutMs, candidate, signal)
              : tryOut(candidate, timeoutMs, signal),
        })
        if (!probe) return
        if (!isDone()) await openSession(timeoutMs)
        return isDone() ? probe.close() : await attach(transport, timeoutMs, probe)
      } catch (cause) {
        last = cause as EverwireError
        if (isFinal(last)) throw last
      }
    }
  }

  const round = () => {
    if (inRound || isDone()) return
    inRound = true
    cancelRetry = undefined
    roundAt = clock.now()
    failed.clear()
    // A slow network must not be taken for a blocked one for ever.
    const timeoutMs = Math.max(linkTimeoutMs, Math.min(linkTimeoutMs * 2 ** rounds, maxBackoffMs))
    void choose(timeoutMs)
      .catch(asError)
      .then((error) => {
        inRound = false
        if (!error) return
        // What was refused may be on offer now, or elsewhere.
        negotiator.offered([])
        if (recoveryOf(error.code) === 'session') {
          // The way works, and the server has answered: another session may be opened at once.
          isAtOnce ||= session !== undefined
          lose()
        }
        retry(error)
      })
  }

  /** Moves to another transport while the link at hand goes on. */
  const move = async (name: string): Promise<void> => {
    const transport = transports.find((one) => one.name === name)
    if (!transport?.supported()) throw new EverwireError('no-transport')
    if (current?.transport === transport) return
    if (!session?.link) throw new EverwireError('link-lost', 'not connected')
    const moving = session
    try {
      const probe = await tryOut(transport, linkTimeoutMs, trying.signal)
      if (session !== moving || state === 'closed') {
        probe.close()
        throw new EverwireError('link-lost', 'the session is another')
      }
      await attach(transport, linkTimeoutMs, probe)
    } catch (error) {
      // The link that was to be left may have gone meanwhile.
      if (state === 'connected' && !current) retry(error as EverwireError)
      throw error
    }
  }

  /** One after the other. */
  const switchTo = (name: string): Promise<void> => {
    const moved = Promise.resolve(switching).then(() => move(name))
    switching = moved.catch(() => {})
    return moved
  }

  /** While on a poorer transport, tries now and then whether a better one works. */
  const planUpgrade = () => {
    cancelUpgrade?.()
    // Jittered, so that clients which fell together do not come back together.
    cancelUpgrade = clock.after(options.upgradeIntervalMs * (0.5 + options.random()), async () => {
      const from = current
      for (const { name, use } of verdicts()) {
        if (use === 'used') break
        if (use !== 'possible') continue
        try {
          return await switchTo(name)
        } catch (error) {
          // Told once: the next link that is proven need not tell it again.
          failed.delete(name)
          if (current === from) negotiator.setBack(name, (error as EverwireError).message)
        }
      }
      if (current) planUpgrade()
    })
  }

  onPageEvents(life.signal, {
    look(isAnotherNetwork) {
      if (isAnotherNetwork) negotiator.forgetSetBacks()
      if (current) heartbeat!.probe(linkTimeoutMs)
      else if (cancelRetry) again(roundAt + backoffMs - clock.now())
    },
    hide(isKept) {
      if (!isKept) return close(new EverwireError('closed', 'the page was left', { cause: pageLeft }))
      // A page with an open connection could not be kept.
      isHidden = true
      cancelRetry?.()
      trying.abort()
      for (const way of [...opening]) way.settle?.(new EverwireError('link-lost'))
      current?.link!.close('link-lost')
    },
    show() {
      isHidden = false
      trying = new AbortController()
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
      return stale
    },
    get userId() {
      return welcome?.userId
    },
    connect() {
      if (state !== 'idle') return
      enter('connecting')
      round()
    },
    close,
    switchTo,
    ping: () =>
      new Promise((resolve, reject) => {
        if (!session?.link) return reject(new EverwireError('link-lost', 'not connected'))
        const at = clock.now()
        const earlier = answered
        answered = (error) => {
          earlier(error)
          if (error) reject(error)
          else resolve(clock.now() - at)
        }
        session.ping()
      }),
    explain: () => explain(state, upMs(), verdicts(), [...attempts]),
    stats: () => ({ received: session?.received ?? 0, sent: session?.sent ?? 0, sessions, resumes }),
  }
}

const asError = (error: unknown): EverwireError =>
  error instanceof EverwireError ? error : new EverwireError('internal', String(error), { cause: error })
