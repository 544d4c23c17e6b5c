import type { AttachRequest } from '@everwire/core'
import type { Identity, ServerSession } from '../client-session.js'
import { Giver, type GiverOptions } from './giver.js'
import type { NotHere } from './handover-messages.js'
import { Taker, type TakerOptions } from './taker.js'

export type HandoverOptions = Omit<GiverOptions, 'isTaking'> & Omit<TakerOptions, 'asking'>

/**
 * Sessions move between nodes in one phase, and the owner ends first: it never takes one back, and the next node goes on
 * with nothing but what the owner answered to the one question that is pending. At worst both have ended it, and the
 * client recovers by position.
 */
export class Handover {
  readonly #options: HandoverOptions
  readonly #taker: Taker
  readonly #giver: Giver

  constructor(options: HandoverOptions) {
    this.#options = options
    this.#taker = new Taker({ ...options, asking: (secret) => this.#giver.forget(secret) })
    this.#giver = new Giver({ ...options, isTaking: (secret) => this.#taker.isTaking(secret) })
  }

  /** Sessions that went to other nodes. */
  get given(): number {
    return this.#giver.given
  }
  /** Answers that may have to be repeated: nodes may still wait for the sessions in them. */
  get unconfirmed(): number {
    return this.#giver.unconfirmed
  }
  /** Sessions that are on their way here. */
  get pending(): number {
    return this.#taker.pending
  }

  /** A session of this node, once it is neither on its way here nor away. */
  async arrived(secret: string): Promise<ServerSession | undefined> {
    const { sessions } = this.#options
    await this.#taker.settled(secret)
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
    return this.#taker.take(secret, owner, attach)
  }

  /** Asks another node to take a session from this one. @returns whether it did */
  give(session: ServerSession, to: string): Promise<boolean> {
    return this.#giver.give(session, to)
  }

  /** What another node is told of a session that is not here. */
  whereabouts(secret: string): NotHere {
    return this.#giver.whereabouts(secret)
  }

  close(): void {
    this.#giver.close()
    this.#taker.close()
  }
}
