import { EverwireError, type Position } from '@everwire/core'

/*
 * Positions as readers without a library hold them: one opaque token, fit for URLs, that sorts as text within an
 * epoch. PROTOCOL.md, "Without a library".
 */

/** Where to read from: a position, the oldest that is kept, from now on, or again in a channel that keeps nothing. */
export type Start = Position | 'beginning' | 'now' | 'live'

/** The one position of a channel that keeps nothing: the present. */
export const liveToken = 'live'

const maxTokenLength = 256
const plainEpoch = /^[A-Za-z0-9-]{1,64}$/
const tokenPattern = /^(~[\w-]*|[\w-]+)_(\d{16})$/

export function positionToken({ epoch, offset }: Position): string {
  const name = plainEpoch.test(epoch) ? epoch : `~${Buffer.from(epoch).toString('base64url')}`
  return `${name}_${String(offset).padStart(16, '0')}`
}

/** @throws EverwireError `bad-request` */
export function readStart(token: string): Start {
  if (token === '-1') return 'beginning'
  if (token === 'now') return 'now'
  if (token === liveToken) return 'live'
  const [, name, digits] = (token.length <= maxTokenLength && tokenPattern.exec(token)) || []
  const position = name && {
    epoch: name.startsWith('~') ? Buffer.from(name.slice(1), 'base64url').toString() : name,
    offset: Number(digits),
  }
  // Only what was handed out comes back to the same text.
  if (!position || !Number.isSafeInteger(position.offset) || positionToken(position) !== token)
    throw new EverwireError('bad-request', 'the offset is not one that was handed out here')
  return position
}
