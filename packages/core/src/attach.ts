import { EverwireError } from './errors.js'
import type { OwnerSession } from './owner-session.js'
import { protocolVersion } from './version.js'

/** What a client says to go on with its session over a new link, or to open one. PROTOCOL.md, "Attach". */
export interface AttachRequest {
  /** Protocol version. */
  v: number
  /** Session id; missing to open a session with this attach. */
  session?: string
  /** The client's number for this attempt; rises with each link. */
  gen: number
  /** The client's random name for the link. */
  place: string
  /** Number of the request on a link that is made of several, from 0. */
  poll: number
  /** Milliseconds that such a request may be held. */
  waitMs?: number
  /** Session frames received; replay starts after it. */
  cursor: number
  /** Own session frames that it knows to be applied. */
  acked: number
  token?: string
}

/** What the owner answers. PROTOCOL.md, "Attach". */
export interface Welcome {
  session: string
  gen: number
  /** Number of the first session frame that follows on this link. */
  from: number
  /** Session frames of the client that are applied. */
  applied: number
  node: string
  userId: string | null
  heartbeatMs: number
  resumeWindowMs: number
  dedupWindowMs: number
  frameBytes: number
  /** The client confirms what it received at the latest after so many frames, */
  ackFrames: number
  /** or after so many bytes of payload. */
  ackBytes: number
  transports: TransportOffer[]
}

/** Whether the server offers a transport to this client, and why not. */
export interface TransportOffer {
  name: string
  offered: boolean
  reason: string
  /** Where the server's own order puts it, 0 for the best; missing where the server has no preference. */
  rank?: number
}

/** What the owner remembers of the attach that it accepted last. */
export interface AttachState {
  gen: number
  place: string
  poll: number
}

/** Before any attach. */
export const neverAttached: AttachState = { gen: 0, place: '', poll: -1 }

/** @throws EverwireError `bad-frame` naming the field, or `version` */
export function readAttach(fields: Readonly<Record<string, unknown>>): AttachRequest {
  assertVersion(fields)
  const { session, gen, place, poll = 0, waitMs, cursor, acked, token } = fields
  const numbers = { gen, poll, cursor, acked, ...(waitMs === undefined ? {} : { waitMs }) }
  for (const [name, value] of Object.entries(numbers))
    if (!Number.isSafeInteger(value) || (value as number) < 0)
      throw new EverwireError('bad-frame', `attach: ${name} must be a whole number from 0`)
  if (gen === 0) throw new EverwireError('bad-frame', 'attach: gen must be 1 or more')
  for (const [name, value] of Object.entries({ session, token }))
    if (value !== undefined && typeof value !== 'string')
      throw new EverwireError('bad-frame', `attach: ${name} must be a string`)
  if (typeof place !== 'string' || place.length === 0 || place.length > 64)
    throw new EverwireError('bad-frame', 'attach: place must be a string of 1 to 64 characters')
  return { ...(fields as unknown as AttachRequest), poll: poll as number }
}

/** @throws EverwireError `version` when the other end speaks another one */
export function assertVersion({ v }: Readonly<Record<string, unknown>>): void {
  if (v !== protocolVersion)
    throw new EverwireError(
      'version',
      `this node speaks version ${protocolVersion}, the client asked for ${String(v)}`,
    )
}

/**
 * What the owner makes of an attach; changes nothing. The client's numbers decide, never the order of arrival: a
 * delayed attach would otherwise fence the live link.
 *
 * `accept` a newer attempt · `repeat` the next request of the link that is attached · `stale` an older attempt, or a
 * second one of the same number from elsewhere · `lost` what the client needs is not here any more
 */
export function judgeAttach(
  session: Pick<OwnerSession, 'written' | 'received' | 'acked' | 'outbox'>,
  state: AttachState,
  { gen, place, poll, cursor, acked }: Pick<AttachRequest, 'gen' | 'place' | 'poll' | 'cursor' | 'acked'>,
): 'accept' | 'repeat' | 'stale' | 'lost' {
  if (gen < state.gen) return 'stale'
  if (gen === state.gen && (place !== state.place || poll < state.poll)) return 'stale'
  if (cursor > session.written || acked > session.received) return 'lost'
  // What was confirmed over another way while this attach was under way is not missing: the link's replay skips it.
  if (Math.max(cursor, session.acked) + 1 < session.outbox.base) return 'lost'
  return gen === state.gen ? 'repeat' : 'accept'
}
