import { EverwireError, type TransportOffer } from '@everwire/core'
import type { HookLimit } from './hook-limit.js'

/** What `negotiate` is told. */
export interface NegotiationAsk {
  /** The HTTP request at hand: a Fastify request. */
  request: unknown
  /** Who it is; undefined for a probe, which has not authenticated yet. */
  userId: string | null | undefined
  /** Names of the transports of this server, in its own order. */
  transports: readonly string[]
}

/** What `negotiate` says of one transport. */
export interface Verdict {
  name: string
  offered: boolean
  /** Told to the client; its first 200 characters. @default 'enabled' or 'refused' */
  reason?: string
}

/** Allows, refuses and orders transports for one request: the hook of `EverwireOptions.negotiate`. */
export type Negotiate = (
  ask: NegotiationAsk,
) => void | readonly Verdict[] | Promise<void | readonly Verdict[]>

const maxReasonLength = 200

/** Which transports a client is offered. */
export class Negotiation {
  readonly #names: readonly string[]
  readonly #hook: Negotiate | undefined
  readonly #limit: HookLimit

  constructor(names: readonly string[], hook: Negotiate | undefined, limit: HookLimit) {
    this.#names = names
    this.#hook = hook
    this.#limit = limit
  }

  /** Whether there is anything to ask: without a hook all is offered. */
  get isAsked(): boolean {
    return this.#hook !== undefined
  }

  /** What is on offer where nobody is asked. */
  get everything(): TransportOffer[] {
    return this.#names.map((name) => ({ name, offered: true, reason: 'enabled' }))
  }

  /**
   * Asks the hook, once. Rejects with what it throws, with a TypeError when what it returns is wrong, and with
   * EverwireError `no-transport` when it leaves none, `temporary` when it does not answer in time.
   */
  async ask(request: unknown, userId: string | null | undefined): Promise<TransportOffer[]> {
    const offers = this.everything
    if (!this.#hook) return offers
    const answer = this.#hook({ request, userId, transports: [...this.#names] })
    const verdicts = await this.#limit('negotiate', answer)
    if (verdicts === undefined) return offers
    if (!Array.isArray(verdicts))
      throw new TypeError('negotiate: return an array of { name, offered, reason }')
    const open = new Set(this.#names)
    let rank = 0
    for (const { name, offered, reason } of verdicts as readonly Verdict[]) {
      if (!open.delete(name))
        throw new TypeError(`negotiate: ${name} is no transport of this server, or is there twice`)
      if (typeof offered !== 'boolean' || (reason !== undefined && typeof reason !== 'string'))
        throw new TypeError(`negotiate: ${name} needs offered as a boolean, and reason as a string if any`)
      const offer = offers.find((one) => one.name === name)!
      offer.offered = offered
      offer.reason = reason?.slice(0, maxReasonLength) ?? (offered ? 'enabled' : 'refused')
      if (offered) offer.rank = rank++
    }
    if (!offers.some(({ offered }) => offered)) throw new EverwireError('no-transport', offers[0]!.reason)
    return offers
  }
}

/** @throws EverwireError `transport-refused`, with the reason */
export function assertOffered(offers: readonly TransportOffer[], transport: string): void {
  const refused = offers.find(({ name, offered }) => name === transport && !offered)
  if (refused) throw new EverwireError('transport-refused', refused.reason)
}
