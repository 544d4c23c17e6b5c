import { codeOf, EverwireError, type AttachRequest, type Clock, type Nodes } from '@everwire/core'
import type { Hub } from '../channels/hub.js'
import type { Seat } from '../channels/seat.js'
import type { Identity, ServerSession } from '../client-session.js'
import type { Metrics } from '../metrics.js'
import type { Operations } from '../operations.js'
import type { Sessions } from '../sessions.js'
import { bundleVersion, channelSet, unpackMoved, unpackUnanswered, type Bundle } from './bundle.js'
import { maxHops, untilVerdict, type Departures } from './departures.js'
import {
  busyMs,
  settleMs,
  type Claim,
  type Gift,
  type Named,
  type NotHere,
  type PeekAnswer,
  type Take,
  type TakeAnswer,
} from './handover-messages.js'
import { FrameCache } from './packed.js'

export interface TakerOptions {
  nodeId: string
  nodes: Nodes
  clock: Clock
  sessions: Sessions
  departures: Departures
  hub: Hub
  operations: Operations
  metrics: Metrics
  /** This node gives its sessions away, and takes none. */
  isDraining(): boolean
  /** This node serves, with all its channels: sessions may be given to it. */
  isServing(): boolean
  /** Another node has a session that this one let go: nobody may be given it from here any more. */
  asking(secret: string): void
}

const maxChanges = 3
/** What a client that came to a draining node is asked to wait. */
export const elsewhereMs = 500
const peekMs = 1_000
const peekTries = 2
/** Longer than the owner may wait: its answer should not fall between two questions. */
const takeTryMs = settleMs + 500
/** As long as the owner may wait, and two seconds of asking. */
const takeMs = settleMs + 2_000
/** Why a channel is taken from a session that cannot have it here. */
const notAllowed: readonly string[] = ['forbidden', 'unknown-channel']
/** How long a client is kept waiting for such a session before it is asked to come again. */
const attachPatienceMs = 1_000
/** When it should come again. */
const againMs = 250

/**
 * The next node: brings sessions here. It goes on with nothing but what the owner answered to the one question that is
 * pending.
 */
export class Taker {
  readonly #options: TakerOptions
  readonly #taking = new Map<string, Promise<ServerSession>>()
  readonly #cache = new FrameCache()

  constructor(options: TakerOptions) {
    this.#options = options
    options.nodes.handle('give', async (body, from) => await this.#pull(body as Gift, from))
  }

  /** Sessions that are on their way here. */
  get pending(): number {
    return this.#taking.size
  }

  isTaking(secret: string): boolean {
    return this.#taking.has(secret)
  }

  /** Resolves once a session is not on its way here any more, whatever came of it. */
  async settled(secret: string): Promise<void> {
    await this.#taking.get(secret)?.catch(() => {})
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
    const { departures, metrics, sessions } = this.#options
    // It was given to this node since it was looked for.
    const here = sessions.find(secret)
    if (here) return Promise.resolve(here)
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

  close(): void {
    this.#cache.clear()
  }

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
        this.#options.asking(secret)
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
    const { nodes, clock, departures } = this.#options
    const deadline = clock.now() + takeMs
    while (!nodes.isGone(owner) && clock.now() < deadline)
      try {
        return (await nodes.request(owner, 'take', take, takeTryMs)) as TakeAnswer
      } catch {
        // It may have happened: asked again, the owner repeats its answer. What comes later counts no more.
        await this.#sleep(busyMs)
      }
    // The same attempt, come twice, must not find it again when it is told that the session is lost.
    if (take.claim) departures.refuse(take.secret, take.claim.gen)
    // It left, and said where the session went: to another node, since a note to this one does not count here.
    const to = nodes.isGone(owner) ? departures.get(take.secret)?.to : undefined
    if (to !== undefined && to !== owner) return { moved: to }
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

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#options.clock.after(ms, resolve))
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
