import { EverwireError, type Clock, type Nodes } from '@everwire/core'
import { ExpiringMap } from './expiring-map.js'

/** Hints and notes lead to a session in so many steps, or it counts as lost. */
export const maxHops = 3

const soonestMs = 250
const latestMs = 2_500

/**
 * When a client should come again whose node does not answer, in milliseconds: when it is back, or known to be dead. A
 * NATS server that restarts is back in between.
 */
export const untilVerdict = (nodes: Nodes, node: string): number =>
  Math.min(latestMs, Math.max(soonestMs, nodes.verdictMs(node)))

/** What is known of a session that is not here any more. */
export interface Departure {
  /** The node that it moved to; undefined for one that ended. */
  readonly to: string | undefined
  /** The highest attempt that was accepted, as far as it is known here. */
  readonly gen: number
}

/** Where a session went, on its way between nodes. */
export type Note = readonly [secret: string, to: string, gen: number]

/**
 * Where sessions went, and what was refused. Each is remembered for one resume window, longer than any answer that could
 * bring a session back: who forgot it sooner could take one twice.
 */
export class Departures {
  readonly #departed: ExpiringMap<Departure>
  readonly #refused: ExpiringMap<number>
  /** Sessions that came here, and the attempt under which they came. */
  readonly #arrived: ExpiringMap<number>

  readonly #nodeId: string

  constructor(nodeId: string, clock: Clock, windowMs: number) {
    this.#nodeId = nodeId
    this.#departed = new ExpiringMap(clock, windowMs)
    this.#refused = new ExpiringMap(clock, windowMs)
    this.#arrived = new ExpiringMap(clock, windowMs)
  }

  get size(): number {
    return this.#departed.size + this.#refused.size + this.#arrived.size
  }

  /** Of sessions that moved, this node's too: at most so many, those after one of them, or all when it is gone. */
  notes(after: string | undefined, most: number): Note[] {
    const departed = [...this.#departed].flatMap(([secret, { to, gen }]) =>
      to === undefined ? [] : [[secret, to, gen] as const],
    )
    const notes: Note[] = [
      ...departed,
      ...[...this.#arrived].map(([s, gen]) => [s, this.#nodeId, gen] as const),
    ]
    const start = notes.findIndex(([secret]) => secret === after) + 1
    return notes.slice(start, start + most)
  }

  get(secret: string): Departure | undefined {
    return this.#departed.get(secret)
  }

  /** Where a session went, as a node said before it was gone. @throws EverwireError `unknown-session` */
  lastWord(secret: string, owner: string): { moved: string } {
    const to = this.get(secret)?.to
    if (to === undefined || to === owner)
      throw new EverwireError('unknown-session', 'the node that owned it is gone')
    return { moved: to }
  }

  /** @param to where it went; undefined when it ended */
  add(secret: string, to: string | undefined, gen: number): void {
    this.#arrived.delete(secret)
    this.#departed.set(secret, { to, gen: Math.max(gen, this.#departed.get(secret)?.gen ?? 0) })
  }

  /**
   * What another node says of a session, unless this one knows better: whoever it went to, as far as is known here, may
   * always say where it went on, also when it moved before the attempt that took it there was accepted.
   */
  heard([secret, to, gen]: Note, from: string): void {
    if (to === this.#nodeId) return
    const known = this.#departed.get(secret)
    const isNewer = !known || known.gen < gen || (known.gen === gen && known.to !== undefined)
    if (isNewer || known.to === from) this.add(secret, to, gen)
  }

  /** The session is here. */
  arrived(secret: string, gen: number): void {
    this.#departed.delete(secret)
    this.#refused.delete(secret)
    this.#arrived.set(secret, gen)
  }

  /** A client was told that its session is lost: the same attempt, come twice, must not find it again. */
  refuse(secret: string, gen: number): void {
    this.#refused.set(secret, Math.max(gen, this.#refused.get(secret) ?? 0))
  }

  isRefused(secret: string, gen: number): boolean {
    return gen <= (this.#refused.get(secret) ?? 0)
  }

  /** Whether a session may be pulled from a node that gives it away: not one that ended here, or went on from here. */
  mayPull(secret: string, from: string, gen: number): boolean {
    const known = this.#departed.get(secret)
    return !known || known.gen < gen || known.to === from
  }

  close(): void {
    this.#departed.clear()
    this.#refused.clear()
    this.#arrived.clear()
  }
}
