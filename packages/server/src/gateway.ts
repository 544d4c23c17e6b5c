import {
  assertVersion,
  codeOf,
  createHeartbeat,
  encodeFrame,
  EverwireError,
  isForeignKind,
  judgeAttach,
  readAttach,
  type AttachRequest,
  type Cancel,
  type Clock,
  type ErrorCode,
  type Frame,
  type Heartbeat,
  type Link,
  type LinkHandler,
  type ServerHandshake,
  type TransportOffer,
  type Welcome,
} from '@everwire/core'
import { ServerSession, type Identity } from './client-session.js'
import type { Cluster, Elsewhere } from './cluster/cluster.js'
import { codeLabel, type Metrics } from './metrics.js'
import { assertOffered, type Negotiation } from './negotiation.js'
import type { Operations } from './operations.js'
import type { Sessions } from './sessions.js'

/** What `authenticate` is told. */
export interface Credentials {
  token: string | undefined
  /** The HTTP request that brought it: a Fastify request. */
  request: unknown
  /** Name of the transport; `session` for the request that only opens a session, `http` for one without a library. */
  transport: string
}

export interface GatewayOptions {
  nodeId: string
  clock: Clock
  sessions: Sessions
  operations: Operations
  cluster: Cluster
  metrics: Metrics
  authenticate(credentials: Credentials): Promise<Identity>
  negotiation: Negotiation
  limits: Pick<
    Welcome,
    'heartbeatMs' | 'resumeWindowMs' | 'dedupWindowMs' | 'frameBytes' | 'ackFrames' | 'ackBytes'
  > & { helloTimeoutMs: number; tokenGraceMs: number }
  /** A link was refused, or broke the protocol: one line in the log. */
  refused(link: Link, code: ErrorCode, error: unknown): void
}

/** A link, and who is at its other end: authenticated already where another node has sent the request on. */
interface Arrival extends ServerHandshake {
  readonly identity?: Identity
  /** What that node offers the client. */
  readonly offers?: TransportOffer[] | undefined
}

/** Frames that may wait while their link is being authenticated. */
const maxEarlyFrames = 100
/** Bytes of their payloads; beyond one frame. */
const maxEarlyBytes = 262_144

/** Where links arrive: hello, authentication, attach. Until a link has attached, nothing else is answered. */
export class Gateway {
  readonly #options: GatewayOptions

  constructor(options: GatewayOptions) {
    this.#options = options
  }

  accept(link: Link, handshake: Arrival): LinkHandler {
    const { clock, limits, sessions, refused, negotiation, metrics } = this.#options
    const { transport } = link
    let session: ServerSession | undefined
    let cancelRelay: Cancel = () => {}
    let heartbeat: Heartbeat | undefined
    let cancelExpiry: Cancel = () => {}
    let early: Frame[] | undefined
    let earlyBytes = 0
    let over = false
    let told = false
    let attaching = false
    let admitted = false

    const refuse = (error: unknown) => {
      if (over) return
      const code = codeOf(error)
      told = true
      if (attaching) metrics.attaches.inc({ transport, result: codeLabel(code) })
      attaching = false
      refused(link, code, error)
      const { message, retryAfterMs } = error instanceof EverwireError ? error : new EverwireError('internal')
      link.send([
        encodeFrame(['refuse', code, message, ...(retryAfterMs === undefined ? [] : [retryAfterMs])]),
      ])
      link.close(code, message)
    }
    const detach = (from: ServerSession) => {
      if (from.core.link !== link) return
      from.core.unbind(link)
      sessions.detached(from)
    }
    const cancelHello = clock.after(limits.helloTimeoutMs, () =>
      refuse(new EverwireError('hello-timeout', `no attach within ${limits.helloTimeoutMs} ms`)),
    )

    const attach = async (request: AttachRequest) => {
      const attached = await this.#attach(link, handshake, request, () => over)
      attaching = false
      if (!attached) return
      if (!(attached instanceof ServerSession)) {
        cancelHello()
        if (over) return
        const { cluster } = this.#options
        const address = addressOf(handshake)
        cancelRelay = cluster.relayPoll(
          link,
          attached,
          { request, identity: attached.identity, offers: attached.offers, address },
          refuse,
        )
        return
      }
      // The link may be over already: a poll that needs not wait ends with its first answer.
      if (over) return detach(attached)
      cancelHello()
      session = attached
      heartbeat = attached.heartbeat = createHeartbeat({
        clock,
        heartbeatMs: limits.heartbeatMs,
        ping: () => attached.core.ping(),
        dead: () => link.close('heartbeat-timeout', 'the client gave no sign of life'),
      })
      const { expiresAt } = attached.identity
      if (expiresAt !== undefined)
        cancelExpiry = afterWallClock(clock, expiresAt + limits.tokenGraceMs, () =>
          refuse(new EverwireError('token-expired', 'the token has expired')),
        )
      const waiting = early ?? []
      early = undefined
      for (const frame of waiting) attached.receive(link, frame)
    }

    const greet = (nonce: unknown) => {
      admitted = true
      link.send([encodeFrame(['hello', { v: 1, nonce, node: this.#options.nodeId }])])
    }
    // Only the request is known of a probe. What follows the hello waits, so that answers keep their order.
    const admit = async (nonce: unknown) => {
      assertOffered(await negotiation.ask(handshake.request, undefined), transport)
      if (over) return
      const waiting = early ?? []
      early = undefined
      greet(nonce)
      for (const frame of waiting) handler.receive(frame)
    }

    const first = (frame: Frame) => {
      const [kind, fields] = frame.header as [string, Record<string, unknown>]
      if (early) {
        earlyBytes += frame.data?.length ?? 0
        if (early.push(frame) > maxEarlyFrames || (early.length > 1 && earlyBytes > maxEarlyBytes))
          throw new EverwireError('bad-frame', 'too many frames before the welcome')
      } else if (kind === 'hello') {
        assertVersion(fields)
        if (admitted || !negotiation.isAsked) return greet(fields.nonce)
        early = []
        admit(fields.nonce).catch(refuse)
      } else if (kind === 'ping') link.send([encodeFrame(['pong', 0])])
      else if (kind === 'attach') {
        attaching = true
        const request = readAttach(fields)
        early = []
        attach(request).catch(refuse)
      } else if (!isForeignKind(kind))
        throw new EverwireError('bad-frame', `a ${kind} frame came before attach`)
    }

    const handler: LinkHandler = {
      receive: (frame) => {
        if (over) return
        try {
          if (session) session.receive(link, frame)
          else first(frame)
        } catch (error) {
          refuse(error)
        }
      },
      drained: () => session?.drained(link),
      closed: (code, reason) => {
        over = true
        if (isViolation(code) && !told) refused(link, code, new EverwireError(code, reason))
        cancelHello()
        cancelExpiry()
        cancelRelay()
        heartbeat?.stop()
        if (!session) return
        // A poll ends with its answer, and the next takes its place: that is how such a link lives.
        if (!link.brief || !pollEnds.includes(code))
          metrics.linksEnded.inc({ transport, code: codeLabel(code) })
        // The peer broke the protocol: what it sends next cannot be trusted to be counted right.
        if (isViolation(code) && session.core.link === link) session.end(code, reason)
        detach(session)
      },
    }
    return handler
  }

  /** Opens a session without a link, to be attached within a short time; or only says who the client is. */
  async open(
    fields: Readonly<Record<string, unknown>>,
    handshake: ServerHandshake,
  ): Promise<{ session?: string; userId: string | null; transports: TransportOffer[] }> {
    const { sessions, negotiation } = this.#options
    const { token, open = true } = fields
    assertVersion(fields)
    if (token !== undefined && typeof token !== 'string')
      throw new EverwireError('bad-frame', 'token must be a string')
    if (typeof open !== 'boolean') throw new EverwireError('bad-frame', 'open must be true or false')
    const identity = await this.#authenticate(token, handshake, 'session')
    const transports = await negotiation.ask(handshake.request, identity.userId)
    const { userId } = identity
    if (open) return { session: sessions.create(identity).token, userId, transports }
    sessions.assertRoom()
    return { userId, transports }
  }

  /** Frames that came in a request of their own. @returns how many of the client's frames are applied */
  async uplink(
    fields: Readonly<Record<string, unknown>>,
    frames: readonly Frame[],
    handshake: ServerHandshake,
  ): Promise<number> {
    const { session: id, first } = fields
    if (typeof id !== 'string' || !Number.isSafeInteger(first) || (first as number) < 1)
      throw new EverwireError('bad-frame', 'uplink: session must be an id and first a whole number from 1')
    const { cluster } = this.#options
    const place = await cluster.locate(id)
    if (place instanceof ServerSession) return this.apply(place, first as number, frames)
    return await cluster.relayUplink(place, { first: first as number, frames, address: addressOf(handshake) })
  }

  /** Frames for a session of this node. @returns how many of the client's frames are applied */
  apply(session: ServerSession, first: number, frames: readonly Frame[]): number {
    const { expiresAt } = session.identity
    if (expiresAt !== undefined && expiresAt + this.#options.limits.tokenGraceMs <= Date.now())
      throw new EverwireError('token-expired', 'the token has expired')
    return session.core.apply(first, frames)
  }

  async #authenticate(
    token: string | undefined,
    { request }: ServerHandshake,
    transport: string,
  ): Promise<Identity> {
    const identity = await this.#options.authenticate({ token, request, transport })
    if (identity.expiresAt !== undefined && identity.expiresAt <= Date.now())
      throw new EverwireError('token-expired', 'the token has expired')
    return identity
  }

  /** @returns the session; where it is, for a link that need not have it here; undefined when the link went away */
  async #attach(
    link: Link,
    handshake: Arrival,
    request: AttachRequest,
    isOver: () => boolean,
  ): Promise<ServerSession | (Elsewhere & { identity: Identity; offers: TransportOffer[] }) | undefined> {
    const { sessions, operations, nodeId, negotiation, limits, cluster, metrics } = this.#options
    const { heartbeatMs, resumeWindowMs, dedupWindowMs, frameBytes, ackFrames, ackBytes } = limits
    const identity =
      handshake.identity ?? (await this.#authenticate(request.token, handshake, link.transport))
    if (isOver()) return undefined
    const found = request.session === undefined ? undefined : await cluster.locate(request.session)
    if (isOver()) return undefined
    const isElsewhere = found !== undefined && !(found instanceof ServerSession)
    // Sent on once: who sent it asks again where it is now.
    if (isElsewhere && handshake.identity) throw moving()
    // The next request of the same link is told nothing anew.
    const goesOn =
      found !== undefined &&
      !isElsewhere &&
      found.token === request.session &&
      isRepeat(found, request, identity)
    const offers = goesOn ? undefined : await this.#offers(link, handshake, identity)
    if (isOver()) return undefined
    if (isElsewhere && link.brief) return { ...found, identity, offers: offers! }
    const known = isElsewhere
      ? await cluster.take(found, { request, identity, address: addressOf(handshake) })
      : found
    if (isOver()) return undefined
    // Another user's session is answered like one that never was.
    if (known && known.userId !== identity.userId)
      throw new EverwireError('unknown-session', 'there is no such session on this node')
    if (!known && (request.cursor > 0 || request.acked > 0))
      throw new EverwireError('unknown-session', 'a new session has received nothing yet')

    let denied = new Map<string, unknown>()
    if (known && !isRepeat(known, request, identity)) {
      if (judgeAttach(known.core, known.attachState, request) === 'stale') throw stale(known)
      denied = await operations.denied(known, identity)
      if (isOver()) return undefined
    }
    // While hooks were asked.
    if (known && cluster.isMoving(known)) throw moving()

    const session = known ?? sessions.create(identity)
    if (session.core.ended) throw new EverwireError('unknown-session', 'the session has ended')
    const wasHere = session.isAuthorized
    const verdict = judgeAttach(session.core, session.attachState, request)
    if (verdict === 'stale') throw stale(session)
    if (verdict === 'lost') {
      session.end('unknown-session', 'what the client needs is not kept any more')
      throw new EverwireError('unknown-session', 'what the client needs is not kept any more')
    }

    // From here on in one turn: the attach is accepted.
    const { gen, place, poll, cursor } = request
    const isFirst = session.attachState.gen === 0
    session.identity = identity
    session.attachState = { gen, place, poll }
    session.isAuthorized = true
    for (const [key, error] of denied) operations.revoke(session, key, error)
    sessions.attached(session)
    const welcome: Welcome = {
      session: session.token,
      gen,
      from: cursor + 1,
      applied: session.core.received,
      node: nodeId,
      userId: session.userId,
      heartbeatMs,
      resumeWindowMs,
      dedupWindowMs,
      frameBytes,
      ackFrames,
      ackBytes,
      transports: offers ?? negotiation.everything,
    }
    // The next request of the same link knows all this already.
    const isSame = verdict === 'repeat' && request.session === session.token
    const brief = isSame ? { gen, from: welcome.from, applied: welcome.applied } : welcome
    if (known && verdict === 'accept' && gen > 1)
      metrics.recoveries.inc({ source: isElsewhere || !wasHere ? 'handover' : 'outbox' })
    if (verdict === 'accept')
      metrics.attaches.inc({ transport: link.transport, result: isFirst ? 'opened' : 'resumed' })
    session.attach(link, encodeFrame(['welcome', brief]), cursor)
    // With the welcome of a new link a client forgets what the last one said.
    if (verdict === 'accept') session.toldStale = false
    cluster.tellStale(session)
    return session
  }

  /** What this client is offered. @throws EverwireError `transport-refused`, when it came by another way */
  async #offers(link: Link, handshake: Arrival, { userId }: Identity): Promise<TransportOffer[]> {
    const { negotiation } = this.#options
    // Sent on by another node, which knows the request and has let it pass.
    if (handshake.identity) return handshake.offers ?? negotiation.everything
    const offers = await negotiation.ask(handshake.request, userId)
    assertOffered(offers, link.transport)
    return offers
  }
}

/** Same link, same claims: its subscriptions were authorized when it attached. */
const isRepeat = (
  { attachState, identity, isAuthorized }: ServerSession,
  { gen, place }: AttachRequest,
  now: Identity,
) =>
  isAuthorized &&
  gen === attachState.gen &&
  place === attachState.place &&
  sameClaims(identity.claims, now.claims)

const sameClaims = (a: unknown, b: unknown) => a === b || JSON.stringify(a) === JSON.stringify(b)

const stale = ({ attachState: { gen } }: ServerSession) =>
  new EverwireError('stale', `attempt ${gen} or a later one is attached`)

/** Who asked, for bounds. */
const addressOf = ({ request }: ServerHandshake): string => (request as { ip?: string } | undefined)?.ip ?? ''

const moving = () =>
  new EverwireError('node-unavailable', 'the session moves between nodes', { retryAfterMs: 100 })

const pollEnds: readonly string[] = ['link-lost', 'superseded']

const violations: readonly string[] = ['bad-frame', 'unknown-frame', 'frame-too-large', 'numbering']
const isViolation = (code: ErrorCode) => violations.includes(code)

/** A token's end is told in wall-clock time; timers are bounded to 2^31 ms. */
function afterWallClock(clock: Clock, at: number, run: () => void): Cancel {
  let cancel: Cancel
  const wait = () => {
    const ms = at - Date.now()
    cancel = ms <= 0 ? clock.after(0, run) : clock.after(Math.min(ms, 2 ** 31 - 1), wait)
  }
  wait()
  return () => cancel()
}
