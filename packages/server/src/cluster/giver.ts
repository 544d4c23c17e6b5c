import { encodeFrame, judgeAttach, type Clock, type Nodes } from '@everwire/core'
import type { Hub, Standing } from '../channels/hub.js'
import type { ServerSession } from '../client-session.js'
import type { Metrics } from '../metrics.js'
import type { Operations } from '../operations.js'
import type { Sessions } from '../sessions.js'
import { bundleVersion, channelSet, packBundle } from './bundle.js'
import type { Departures } from './departures.js'
import { ExpiringMap } from './expiring-map.js'
import {
  busyMs,
  settleMs,
  type Gift,
  type Named,
  type NotHere,
  type PeekAnswer,
  type Take,
  type TakeAnswer,
} from './handover-messages.js'

export interface GiverOptions {
  nodes: Nodes
  clock: Clock
  sessions: Sessions
  departures: Departures
  hub: Hub
  operations: Operations
  metrics: Metrics
  intervalMs: number
  bundleBytes: number
  /** This node gives its sessions away. */
  isDraining(): boolean
  /** A session is on its way here. */
  isTaking(secret: string): boolean
  /** A session is not here any more. */
  left(session: ServerSession): void
}

/** An answer that is repeated to the node that it was for, should it not have come. */
interface Kept {
  to: string
  gen: number
  answer: Promise<TakeAnswer>
}

/** Longer than the next node asks: else its own repeat would find the session gone. */
const keepMs = 5_000
const giveMs = 10_000

/** The owner: ends a session first, then answers with all of it, and never takes it back. */
export class Giver {
  readonly #options: GiverOptions
  readonly #kept: ExpiringMap<Kept>
  #given = 0

  constructor(options: GiverOptions) {
    this.#options = options
    this.#kept = new ExpiringMap(options.clock, keepMs)
    const { nodes } = options
    nodes.handle('peek', (body) => this.#peeked(body as Named))
    nodes.handle('take', async (body, from) => await this.#taken(body as Take, from))
    nodes.handle('taken', (body, from) => {
      const { secret } = body as Named
      if (this.#kept.get(secret)?.to === from) this.#kept.delete(secret)
    })
  }

  /** Sessions that went to other nodes. */
  get given(): number {
    return this.#given
  }
  /** Answers that may have to be repeated: nodes may still wait for the sessions in them. */
  get unconfirmed(): number {
    return this.#kept.size
  }

  /** Asks another node to take a session from this one. @returns whether it did */
  async give(session: ServerSession, to: string): Promise<boolean> {
    const answer = await this.#options.nodes
      .request(to, 'give', { secret: session.secret, gen: session.attachState.gen } satisfies Gift, giveMs)
      .catch(() => undefined)
    // The answer may be lost though the session is gone.
    return answer === true || !this.#options.sessions.find(session.secret)
  }

  /** Forgets what was answered for a session. */
  forget(secret: string): void {
    this.#kept.delete(secret)
  }

  close(): void {
    this.#kept.clear()
  }

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
    if (this.#options.isTaking(secret)) return { retryMs: busyMs }
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
