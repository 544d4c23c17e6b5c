import { EverwireError, randomBase32, type ErrorCode } from '@everwire/core'
import type { ClientSession, Identity } from '../client-session.js'

/** What hooks are told the transport of a client without a library is. */
export const visitorTransport = 'http'

/** A client without a library, as hooks see it: for the length of one request. */
export class Visitor implements ClientSession {
  readonly id = randomBase32(16)
  readonly userId: string | null
  readonly claims: unknown
  readonly transport = visitorTransport
  /** Why a hook ended it. */
  ended: EverwireError | undefined
  /** Hears it. */
  onEnd: ((why: EverwireError) => void) | undefined

  constructor({ userId, claims }: Identity) {
    this.userId = userId
    this.claims = claims
  }

  /** After whatever was awaited, for a hook may have ended it meanwhile. @throws EverwireError why it was ended */
  assertStays(): void {
    if (this.ended) throw this.ended
  }

  async request(): Promise<never> {
    throw new EverwireError('unknown-method', 'a client without a library answers no requests')
  }

  end(code: ErrorCode = 'closed', reason = ''): void {
    this.ended ??= new EverwireError(code, reason || 'the server ended it')
    this.onEnd?.(this.ended)
  }
}
