import { createHash } from 'node:crypto'
import type { AttachState, EncodedFrame, Frame, SessionState } from '@everwire/core'
import type { Standing } from '../channels/hub.js'
import type { Identity, MovedSession } from '../client-session.js'
import { packEncoded, packFrame, unpackFrame, type FrameCache, type PackedFrame } from './packed.js'

/** Raised when a node of the version before could not go on with what this one hands over. */
export const bundleVersion = 1

/** Everything of a session that another node needs to go on with it, as JSON. */
export interface Bundle {
  /** Public id. */
  readonly id: string
  readonly identity: Identity
  readonly attachState: AttachState
  readonly state: Omit<SessionState, 'frames'> & { readonly frames: readonly PackedFrame[] }
  /** Name on the bus, name on the wire, and where the session stands as of the turn in which it left. */
  readonly channels: readonly (readonly [key: string, wire: string, standing: Standing])[]
  /** What has no answer yet, in order. */
  readonly unanswered: readonly (readonly [number: number, frame: PackedFrame])[]
  /** Everything that was broadcast before the next node listened has come to the last one. */
  readonly synced: boolean
}

export interface BundleParts {
  readonly identity: Identity
  readonly moved: MovedSession
  readonly channels: Bundle['channels']
  readonly unanswered: ReadonlyMap<number, Frame>
  readonly synced: boolean
}

export function packBundle({ identity, moved, channels, unanswered, synced }: BundleParts): Bundle {
  const { id, attachState, state } = moved
  return {
    id,
    identity,
    attachState,
    state: { ...state, frames: state.frames.map(packEncoded) },
    channels,
    unanswered: [...unanswered].map(([number, frame]) => [number, packFrame(frame)] as const),
    synced,
  }
}

export function unpackMoved({ id, attachState, state }: Bundle, cache: FrameCache): MovedSession {
  const frames: EncodedFrame[] = state.frames.map((frame) => cache.unpack(frame))
  return { id, attachState, state: { ...state, frames } }
}

export const unpackUnanswered = ({ unanswered }: Bundle): [number: number, frame: Frame][] =>
  unanswered.map(([number, frame]) => [number, unpackFrame(frame)])

/** Tells whether two nodes speak of the same channels. */
export const channelSet = (keys: Iterable<string>): string =>
  createHash('sha256')
    .update(JSON.stringify([...keys].sort()))
    .digest('base64url')
