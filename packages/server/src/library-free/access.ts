import { EverwireError, ownChannel } from '@everwire/core'
import type { FastifyRequest } from 'fastify'
import { assertMayRead, type ChannelRule, type ChannelRules } from '../channels/rules.js'
import { bearerOf, type ReadRequest } from './request.js'
import type { Identity } from '../client-session.js'
import type { Credentials } from '../gateway.js'
import type { Hub } from '../channels/hub.js'
import { createServerKeys } from './server-keys.js'
import type { Tickets } from './tickets.js'
import { Visitor, visitorTransport } from './visitor.js'

export interface ChannelAccessOptions {
  hub: Hub
  rules: ChannelRules
  tickets: Tickets
  serverKeys: readonly string[]
  authenticate(credentials: Credentials): Promise<Identity>
}

/** A reader that was let in. */
export interface Admitted {
  visitor: Visitor
  /** Name of the channel on the bus. */
  key: string
  rule: ChannelRule
  /** When it must ask again, in milliseconds since 1970. */
  expiresAt: number
  /** What an event stream that a ticket opened hands out, so that it may be resumed. */
  grant: string | undefined
  /** It was refused for a passing reason after all. */
  giveBack(): void
}

const anonymous: Identity = { userId: null }

/** Who comes without a library, and what it may. Nothing is remembered: each request is asked anew. */
export class ChannelAccess {
  readonly #options: ChannelAccessOptions
  readonly #isServerKey: (token: string | undefined) => boolean

  constructor(options: ChannelAccessOptions) {
    this.#options = options
    this.#isServerKey = createServerKeys(options.serverKeys)
  }

  /** The server itself, by one of its keys. */
  isServer(request: FastifyRequest): boolean {
    return this.#isServerKey(bearerOf(request))
  }

  /** Rejects with what `authenticate` throws, `unauthorized`, `temporary` when it takes too long, or `token-expired`. */
  async authenticate(request: FastifyRequest): Promise<Identity> {
    // The key must not reach a hook that takes it for the token of a user.
    if (this.isServer(request)) throw new EverwireError('forbidden', 'a key of the server publishes, no more')
    const { authenticate } = this.#options
    const identity = await authenticate({ token: bearerOf(request), request, transport: visitorTransport })
    if (identity.expiresAt !== undefined && identity.expiresAt <= Date.now())
      throw new EverwireError('token-expired', 'the token has expired')
    return identity
  }

  /**
   * Lets a reader in. Rejects as `authenticate`, `ticket-refused`, `unknown-channel`, `forbidden`, or with why a hook
   * ended it.
   */
  async admit(request: FastifyRequest, { channel, ticket, grant }: ReadRequest): Promise<Admitted> {
    const { hub, rules, tickets } = this.#options
    // Whoever is not authenticated learns of no channel but the public ones.
    if (channel !== ownChannel && rules.match(channel)?.public)
      return {
        visitor: new Visitor(anonymous),
        key: channel,
        rule: rules.find(channel),
        expiresAt: Infinity,
        grant: undefined,
        giveBack() {},
      }
    const admission = ticket === undefined ? undefined : tickets.admit(ticket, channel, grant)
    const giveBack = () => admission?.giveBack()
    try {
      const identity = admission?.identity ?? (await this.authenticate(request))
      const visitor = new Visitor(identity)
      const key = hub.resolve(visitor, channel)
      const rule = hub.rule(key)
      await assertMayRead(rule, visitor, channel)
      visitor.assertStays()
      const expiresAt = admission?.endsAt ?? identity.expiresAt ?? Infinity
      return { visitor, key, rule, expiresAt, grant: admission?.grant, giveBack }
    } catch (error) {
      giveBack()
      throw error
    }
  }
}
