import type { Revision } from '../announcement.js'
import type { Changes } from '../change.js'
import type { Followed, Known } from './followed.js'
import { patchBetween } from './patch.js'
import type { Content } from './revision.js'

/** A publication about to be made. */
export type Change = {
  [Event in keyof Changes]: { event: Event; data: Changes[Event] }
}[keyof Changes]

export interface SizeLimits {
  /** Largest publication. */
  snapshotBytes: number
  /** Largest resource of which differences are computed. */
  patchBytes: number
}

/** What a publication and its channel add to the data. */
const envelopeBytes = 512

/** The publication unless it is too large: then that something changed. */
export function bounded(change: Change, { snapshotBytes }: SizeLimits): Change {
  return Buffer.byteLength(JSON.stringify(change.data)) <= snapshotBytes + envelopeBytes
    ? change
    : { event: 'invalidate', data: { to: change.data.to } }
}

/** A state with its data; undefined when it is not JSON. */
export function knownOf({ text, revision }: Content): Known | undefined {
  try {
    return { revision, data: JSON.parse(text) as unknown }
  } catch {
    return undefined
  }
}

/** How a state is told: by what changed where that is much smaller than the whole. */
export function changeTo(
  { revision, text }: Content,
  state: Known | undefined,
  { newest, known }: Pick<Followed, 'newest' | 'known'>,
  limits: SizeLimits,
): Change {
  const from: Revision | null = newest?.to ?? null
  const bytes = Buffer.byteLength(text)
  if (!state) return { event: 'invalidate', data: { to: revision } }
  if (known && from !== null && from !== revision && known.revision === from && bytes <= limits.patchBytes) {
    const patch = patchBetween(known.data, state.data)
    const patchBytes = patch && Buffer.byteLength(JSON.stringify(patch))
    if (patchBytes !== undefined && patchBytes < bytes / 2 && patchBytes <= limits.snapshotBytes)
      return { event: 'patch', data: { from, to: revision, patch: patch! } }
  }
  if (bytes > limits.snapshotBytes) return { event: 'invalidate', data: { to: revision } }
  return { event: 'snapshot', data: { from, to: revision, data: state.data } }
}
