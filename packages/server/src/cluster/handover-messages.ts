import type { AttachRequest } from '@everwire/core'
import type { Bundle } from './bundle.js'

/** What an attach says, as far as it decides about a session. */
export type Claim = Pick<AttachRequest, 'gen' | 'place' | 'poll' | 'cursor' | 'acked'>

export interface Named {
  secret: string
}
export interface Gift {
  secret: string
  gen: number
}
export type PeekAnswer = NotHere | { version: number; userId: string | null; channels: string[] }

export interface Take {
  secret: string
  userId: string | null
  /** Missing when the owner gives the session away: its last attach goes on then. */
  claim?: Claim | undefined
  channels: string
}
export type TakeAnswer = NotHere | { changed: true } | { bundle: Bundle }

/** Why a node does not answer with what it was asked for. */
export type NotHere = { moved: string } | { unknown: true } | { stale: number } | { retryMs: number }

/** How long what cannot be repeated elsewhere may take before the session leaves all the same. */
export const settleMs = 1_000
/** What a node is asked to wait for a session that is on its way. */
export const busyMs = 50
