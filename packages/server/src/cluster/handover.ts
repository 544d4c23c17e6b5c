import {
  codeOf,
  encodeFrame,
  EverwireError,
  judgeAttach,
  type AttachRequest,
  type Clock,
  type Nodes,
} from '@everwire/core'
import type { Hub, Standing } from '../channels/hub.js'
import type { Seat } from '../channels/seat.js'
import type { Identity, ServerSession } from '../client-session.js'
import type { Metrics } from '../metrics.js'
import type { Operations } from '../operations.js'
import type { Sessions } from '../sessions.js'
import {
  bundleVersion,
  channelSet,
  packBundle,
  unpackMoved,
  unpackUnanswered,
  type Bundle,
} from './bundle.js'
import { maxHops, untilVerdict, type Departures } from './departures.js'
import { ExpiringMap } from './expiring-map.js'
import { FrameCache } from './packed.js'

export interface HandoverOptions {
  nodeId: string
  nodes: Nodes
  clock: Clock
  sessions: Sessions
  departures: Departures
  hub: Hub
  operations: Operations
  metrics: Metrics
  intervalMs: number
  bundleBytes: number
  /** This node gives its sessions away, and takes none. */
  isDraining(): boolean
  /** This node serves, with all its channels: sessions may be given to it. */
  isServing(): boolean
  /** A session is not here any more. */
  left(session: ServerSession): void
}

/** What an attach says, as far as it decides about a session. */
type Claim = Pick<AttachRequest, 'gen' | 'place' | 'poll' | 'cursor' | 'acked'>

interface Named {
  secret: string
}
interface Gift {
  secret: string
  gen: number
}
type PeekAnswer = NotHere | { version: number; userId: string | null; channels: string[] }

interface Take {
  secret: string
  userId: string | null
  /** Missing when the owner gives the session away: its last attach goes on then. */
  claim?: Claim | undefined
  channels: string
}
type TakeAnswer = NotHere | { changed: true } | { bundle: Bundle }

/** Why a node does not answer with what it was asked for. */
export type NotHere = { moved: string } | { unknown: true } | { stale: number } | { retryMs: number }

/** An answer that is repeated to the node that it was for, should it not have come. */
interface Kept {
  to: string
  gen: number
  answer: Promise<TakeAnswer>
}

const maxChanges = 3
/** What a client that came to a draining node is asked to wait. */
const elsewhereMs = 500
const peekMs = 1_000
const peekTries = 2
/** How long what cannot be repeated elsewhere may take before the session leaves all the same. */
const settleMs = 1_000
/** Longer than the owner may wait: its answer should not fall between two questions. */
const takeTryMs = settleMs + 500
/** As long as the owner may wait, and two seconds of asking. */
const takeMs = settleMs + 2_000
/** Longer than the next node asks: else its own repeat would find the session gone. */
const keepMs = 5_000
const giveMs = 10_000
/** Why a channel is taken from a session that cannot have it here. */
const notAllowed: readonly string[] = ['forbidden', 'unknown-channel']
/** What a node is asked to wait for a session that is on its way. */
const busyMs = 50
/** How long a client is kept waiting for such a session before it is asked to come again. */
const attachPatienceMs = 1_000
/** When it should come again. */
const againMs = 250

/**
 * Sessions move between nodes in one phase, and the owner ends first: it never takes one back, and the next node goes on
 * with nothing but what the owner answered to the one question that is pending. At worst both have ended it, and the
 * client recovers by position.
 */
export class Handover {
  readonly #options: HandoverOptions
  readonly #taking = new Map<string, Promise<ServerSession>>()
  readonly #kept: ExpiringMap<Kept>
  readonly #cache = new FrameCache()
  #given = 0

  constructor(options: HandoverOptions) {
    this.#options = options
    this.#kept = new ExpiringMap(options.clock, keepMs)
    const { nodes } = options
    nodes.handle('peek', (body) => this.#peeked(body as Named))
    nodes.handle('take', async (body, from) => await this.#taken(body as Take, from))
    nodes.handle('taken', (body, from) => {
      const { secret } = body as Named
      if (this.#kept.get(secret)?.to === from) this.#kept.delete(secret)
    })
    nodes.handle('give', async (body, from) => await this.#pull(body as Gift, from))
  }

  /** Sessions that went to other nodes. */
  get given(): number {
    return this.#given
  }
  /** Answers that may have to be repeated: nodes may still wait for the sessions in them. */
  get unconfirmed(): number {
    return this.#kept.size
  }
  /** Sessions that are on their way here. */
  get pending(): number {
    return this.#taking.size
  }

  /** A session of this node, once it is neither on its way here nor away. */
  async arrived(secret: string): Promise<ServerSession | undefined> {
    const { sessions } = this.#options
    await this.#taking.get(secret)?.catch(() => {})
    await sessions.find(secret)?.leaving
    return sessions.find(secret)
  }

  /**
   * Takes a session from the node that owns it.
   * @throws EverwireError `unknown-session` when it is lost, `stale`, or `node-unavailable` when it may be tried again
   */
  take(
    secret: string,
    owner: string,
    attach?: { request: AttachRequest; identity: Identity },
  ): Promise<ServerSession> {
    const running = this.#taking.get(secret)
    // Its failure was another attach's.
    if (running) return running.catch(async () => await this.take(secret, owner, attach))
    const { departures, metrics } = this.#options
    const { handovers } = metrics
    const gen = attach?.request.gen
    if (gen !== undefined && departures.isRefused(secret, gen))
      return Promise.reject(lost('this attempt was told so'))
    const taking = this.#take(secret, owner, attach)
      .then(
        (session) => {
          handovers.inc({ result: 'taken' })
          return session
        },
        (error: unknown) => {
          handovers.inc({ result: codeOf(error) === 'unknown-session' ? 'lost' : 'refused' })
          throw error
        },
      )
      .finally(() => this.#taking.delete(secret))
    this.#taking.set(secret, taking)
    return taking
  }

  /** Asks another node to take a session from this one. @returns whether it did */
  async give(session: ServerSession, to: string): Promise<boolean> {
    const answer = await this.#options.nodes
      .request(to, 'give', { secret: session.secret, gen: session.attachState.gen } satisfies Gift, giveMs)
      .catch(() => undefined)
    // The answer may be lost though the session is gone.
    return answer === true || !this.#options.sessions.find(session.secret)
  }

  close(): void {
    this.#kept.clear()
    this.#cache.clear()
  }

  // The next node.

  async #take(
    secret: string,
    first: string,
    attach: { request: AttachRequest; identity: Identity } | undefined,
  ): Promise<ServerSession> {
    const { sessions, nodes, isDraining } = this.#options
    if (isDraining())
      throw new EverwireError('server-closing', 'this node gives its sessions away', {
        retryAfterMs: elsewhereMs,
      })
    sessions.assertRoom()
    let owner = first
    let hops = 0
    let patienceMs = attachPatienceMs
    for (let changes = 0; changes < maxChanges;) {
      const peek = await this.#peek(secret, owner)
      if ('retryMs' in peek && peek.retryMs <= patienceMs) {
        patienceMs -= peek.retryMs
        await this.#sleep(peek.retryMs)
        continue
      }
      if (!('channels' in peek)) {
        owner = this.#follow(secret, movedTo(peek), ++hops)
        continue
      }
      const { version, userId, channels } = peek
      if (version !== bundleVersion) throw lost('the node that has it is of another version')
      // Another user's session is answered like one that never was.
      if (attach && attach.identity.userId !== userId) throw lost('there is no such session')
      const { seats, denied } = await this.#hold(channels)
      try {
        // What this node does not know yet must not be taken from a client that did not ask to come here.
        if (!attach && denied.size > 0) throw unavailable('this node has not all channels of the session')
        // Another has it now: nobody may be given it from here any more.
        this.#kept.delete(secret)
        const answer = await this.#ask(owner, {
          secret,
          userId,
          claim: attach && claimOf(attach.request),
          channels: channelSet(channels),
        })
        if ('bundle' in answer) {
          nodes.tell('taken', { secret } satisfies Named, owner)
          return this.#activate(secret, answer.bundle, seats, denied, !attach)
        }
        if ('changed' in answer) changes++
        else owner = this.#follow(secret, movedTo(answer), ++hops)
      } finally {
        for (const seat of seats.values()) this.#options.hub.release(seat)
      }
    }
    throw unavailable('the session changes while it is taken')
  }

  #follow(secret: string, to: string, hops: number): string {
    if (hops > maxHops) throw lost('it was followed too far')
    if (to !== this.#options.nodeId) return to
    // Whoever took it and neither has it nor let it go has lost it.
    const next = this.#options.departures.get(secret)?.to
    if (next === undefined) throw lost('it was taken, and lost on the way')
    return next
  }

  async #peek(secret: string, owner: string): Promise<PeekAnswer> {
    const { nodes } = this.#options
    for (let attempt = 1; ; attempt++) {
      if (nodes.isGone(owner)) return this.#options.departures.lastWord(secret, owner)
      try {
        return (await nodes.request(owner, 'peek', { secret } satisfies Named, peekMs)) as PeekAnswer
      } catch (error) {
        // Silence is a suspicion, and nothing has happened yet.
        if (attempt < peekTries) continue
        const comeAgainMs = untilVerdict(nodes, owner)
        throw unavailable('the node that owns the session does not answer', error, comeAgainMs)
      }
    }
  }

  /** Listens to every channel, so that nothing that comes after what the owner sent can be missed. */
  async #hold(channels: readonly string[]) {
    const { hub } = this.#options
    const seats = new Map<string, Seat>()
    const denied = new Map<string, unknown>()
    const failures: unknown[] = []
    await Promise.all(
      channels.map((key) =>
        hub.hold(key).then(
          (seat) => seats.set(key, seat),
          (error: unknown) => {
            if (notAllowed.includes(codeOf(error))) denied.set(key, error)
            else failures.push(error)
          },
        ),
      ),
    )
    if (failures.length === 0) return { seats, denied }
    for (const seat of seats.values()) hub.release(seat)
    throw unavailable('a channel cannot be joined now', failures[0])
  }

  async #ask(owner: string, take: Take): Promise<TakeAnswer> {
    const { nodes, clock } = this.#options
    const deadline = clock.now() + takeMs
    while (!nodes.isGone(owner) && clock.now() < deadline)
      try {
        return (await nodes.request(owner, 'take', take, takeTryMs)) as TakeAnswer
      } catch {
        // It may have happened: asked again, the owner repeats its answer. What comes later counts no more.
        await this.#sleep(busyMs)
      }
    // The same attempt, come twice, must not find it again.
    if (take.claim) this.#options.departures.refuse(take.secret, take.claim.gen)
    throw lost('the node that owned it did not answer, and may have let it go')
  }

  /** In one turn. */
  #activate(
    secret: string,
    bundle: Bundle,
    seats: Map<string, Seat>,
    denied: Map<string, unknown>,
    given: boolean,
  ): ServerSession {
    const { sessions, departures, hub, operations, clock } = this.#options
    // All of it first: what cannot be read must not leave half a session.
    const moved = unpackMoved(bundle, this.#cache)
    const unanswered = unpackUnanswered(bundle)
    const session = sessions.adopt(secret, bundle.identity, moved)
    departures.arrived(secret, moved.attachState.gen)
    // Whom a draining node sent away may land on yet another node at once.
    if (!given) session.cameAt = clock.now()
    for (const [key, wire, standing] of bundle.channels) {
      const seat = seats.get(key)
      session.channels.set(key, wire)
      if (!seat) {
        session.removed(key, wire, denied.get(key))
        continue
      }
      if (!bundle.synced) seat.break()
      hub.resume(seat, session, standing)
    }
    for (const [number, frame] of unanswered) operations.repeat(session, frame, number)
    if (!sessions.closed) return session
    session.end('server-closing', 'the server is closing')
    throw lost('it came to a node that is closing')
  }

  async #pull({ secret, gen }: Gift, from: string): Promise<boolean> {
    const { sessions, departures, isServing } = this.#options
    if (sessions.find(secret)) return true
    if (!isServing() || !departures.mayPull(secret, from, gen)) return false
    return await this.take(secret, from).then(
      () => true,
      () => false,
    )
  }

  // The owner.

  #peeked({ secret }: Named): PeekAnswer {
    const session = this.#options.sessions.find(secret)
    if (!session) return this.whereabouts(secret)
    const retryMs = this.#tooSoonMs(session)
    if (retryMs > 0) return { retryMs }
    return {
      version: bundleVersion,
      userId: session.userId,
      channels: this.#standings(session).map(([key]) => key),
    }
  }

  whereabouts(secret: string): NotHere {
    if (this.#taking.has(secret)) return { retryMs: busyMs }
    const to = this.#options.departures.get(secret)?.to
    return to === undefined ? { unknown: true } : { moved: to }
  }

  /** Two links that race on two nodes must not pull a session to and fro. */
  #tooSoonMs({ cameAt, leaving }: ServerSession): number {
    const { clock, intervalMs, isDraining } = this.#options
    if (leaving) return busyMs
    return cameAt === undefined || isDraining() ? 0 : Math.ceil(cameAt + intervalMs - clock.now())
  }

  #taken(take: Take, from: string): Promise<TakeAnswer> | TakeAnswer {
    const { secret, claim } = take
    const { sessions, isDraining } = this.#options
    const session = sessions.find(secret)
    const gen = claim?.gen ?? session?.attachState.gen ?? this.#kept.get(secret)?.gen ?? 0
    const kept = this.#kept.get(secret)
    if (kept?.to === from && kept.gen === gen) return kept.answer
    if (!session) return this.whereabouts(secret)
    if (session.leaving) return { retryMs: busyMs }
    // Without an attach only who gives it away may be asked for it.
    if (!claim && !isDraining()) return { unknown: true }
    if (session.userId !== take.userId) return { unknown: true }
    // A live link is not disturbed for what would be refused.
    if (claim && judgeAttach(session.core, session.attachState, claim) === 'stale')
      return { stale: session.attachState.gen }
    const answer = this.#let(session, take, from)
    const entry: Kept = { to: from, gen, answer }
    this.#kept.set(secret, entry)
    const forget = () => {
      if (this.#kept.get(secret) === entry) this.#kept.delete(secret)
    }
    // Otherwise nothing has happened: asked again, the session is looked at anew.
    void answer.then((said) => 'bundle' in said || forget(), forget)
    return answer
  }

  /** Lets a session go, once what cannot be repeated elsewhere is done. */
  async #let(session: ServerSession, take: Take, to: string): Promise<TakeAnswer> {
    let arrived = () => {}
    session.leaving = new Promise((resolve) => (arrived = resolve))
    session.park()
    try {
      const [synced] = await Promise.all([this.#synced(session), this.#settled(session)])
      return this.#leave(session, take, to, synced)
    } finally {
      session.leaving = undefined
      session.unpark()
      arrived()
    }
  }

  /** In one turn. */
  #leave(session: ServerSession, { claim, channels }: Take, to: string, synced: boolean): TakeAnswer {
    const { departures, sessions, bundleBytes, nodes, left, metrics } = this.#options
    const { secret, core, identity, attachState, unanswered } = session
    if (core.ended) return this.whereabouts(secret)
    if (claim) {
      const verdict = judgeAttach(core, attachState, claim)
      if (verdict === 'stale') return { stale: attachState.gen }
      if (verdict === 'lost') {
        session.end('unknown-session', 'what the client needs is not kept any more')
        return { unknown: true }
      }
      core.acknowledge(claim.cursor)
    }
    const standings = this.#standings(session)
    if (channelSet(standings.map(([key]) => key)) !== channels) return { changed: true }
    const mostBytes = Math.min(bundleBytes, nodes.maxBytes)
    const { link } = core
    const pending = new Map(unanswered)
    const moved = session.handOver()
    const bundle = packBundle({ identity, moved, channels: standings, unanswered: pending, synced })
    sessions.forget(session)
    left(session)
    departures.add(secret, to, claim?.gen ?? attachState.gen)
    const bytes = Buffer.byteLength(JSON.stringify(bundle))
    if (bytes > mostBytes) {
      departures.add(secret, undefined, claim?.gen ?? attachState.gen)
      link?.send([encodeFrame(['close', 'unknown-session', `${bytes} bytes are too many to hand over`])])
      link?.close('unknown-session', 'too much to hand over')
      return { unknown: true }
    }
    link?.send([encodeFrame(claim ? ['superseded'] : ['drain', `${to}.${secret}`])])
    link?.close(claim ? 'superseded' : 'server-closing', 'the session goes on elsewhere')
    this.#given++
    metrics.handovers.inc({ result: 'given' })
    return { bundle }
  }

  /** Everything that was broadcast before now is here; false when that cannot be known in time. */
  async #synced(session: ServerSession): Promise<boolean> {
    const { nodes, hub } = this.#options
    if ([...session.channels.keys()].every((key) => hub.rule(key).history)) return true
    const barrier = nodes.barrier().then(
      () => true,
      () => false,
    )
    return await Promise.race([barrier, this.#sleep(settleMs).then(() => false)])
  }

  async #settled(session: ServerSession): Promise<void> {
    await this.#options.operations.settled(session, this.#sleep(settleMs))
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#options.clock.after(ms, resolve))
  }

  #standings(session: ServerSession): [key: string, wire: string, standing: Standing][] {
    const { hub } = this.#options
    return [...session.channels].flatMap(([key, wire]) => {
      const standing = hub.standing(session, key)
      return standing ? [[key, wire, standing] as [string, string, Standing]] : []
    })
  }
}

const claimOf = ({ gen, place, poll, cursor, acked }: AttachRequest): Claim => ({
  gen,
  place,
  poll,
  cursor,
  acked,
})

/** Where it went. @throws EverwireError what the answer means when it is not that */
function movedTo(answer: NotHere): string {
  if ('moved' in answer) return answer.moved
  if ('stale' in answer)
    throw new EverwireError('stale', `attempt ${answer.stale} or a later one is attached`)
  if ('retryMs' in answer)
    throw unavailable(
      'the session is on its way, or came just now',
      undefined,
      Math.max(answer.retryMs, againMs),
    )
  throw lost('there is no such session')
}

const lost = (why: string) => new EverwireError('unknown-session', `the session is lost: ${why}`)

const unavailable = (message: string, cause?: unknown, retryAfterMs = againMs) =>
  new EverwireError('node-unavailable', message, { cause, retryAfterMs })
