import { createHash } from 'node:crypto'
import { modes, type Mode } from '../change.js'

const least = (...wishes: (Mode | undefined)[]): Mode =>
  modes[Math.min(...wishes.map((mode) => modes.indexOf(mode ?? 'live')))]!

/** What decides how one request is answered. */
export interface ModeWishes {
  /** Of the options. */
  most: Mode
  /** The operators' switch. */
  switched: Mode | undefined
  /** The request's own header. */
  header: string | string[] | undefined
  rollout: number
  /** Who asks; the same at every node. */
  user: () => string
}

/** How a request is answered: options and switch are the most; below that the request chooses, else the roll-out. */
export function modeOf({ most, switched, header, rollout, user }: ModeWishes): Mode {
  const cap = least(most, switched)
  if (cap === 'off') return cap
  const wish = modes.find((mode) => mode === header)
  return least(cap, wish ?? (isRolledOut(rollout, user) ? 'live' : 'polling'))
}

const isRolledOut = (rollout: number, user: () => string): boolean =>
  rollout >= 100 ||
  (rollout > 0 && createHash('sha256').update(user()).digest().readUInt32BE() % 100 < rollout)
