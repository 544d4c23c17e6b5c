import type { Revision } from './announcement.js'

/** One operation of a JSON Patch (RFC 6902). */
export type PatchOperation =
  | { op: 'add' | 'replace' | 'test'; path: string; value: unknown }
  | { op: 'remove'; path: string }
  | { op: 'move' | 'copy'; from: string; path: string }

/** Events of a resource's channel, and what each publication holds. */
export interface Changes {
  /** The whole resource. `from` is the state that was published before, null where the publisher does not know. */
  snapshot: { from: Revision | null; to: Revision; data: unknown }
  /** What makes one state of another. */
  patch: { from: Revision; to: Revision; patch: PatchOperation[] }
  /** Something changed: ask again. */
  invalidate: { to: Revision | null }
}

/** From the least to the most. */
export const modes = ['off', 'polling', 'live'] as const

/** How a resource is brought to its readers; `off` is as if the bridge were not there. */
export type Mode = (typeof modes)[number]

/** Where operators switch, and what of; a field that is left away is as the options say. */
export const controlChannel = 'polling-bridge:control'
export interface Control {
  mode?: Mode | undefined
  /** Percentage of users, 0 to 100. */
  rollout?: number | undefined
}

/** Whether it is one; what is not is left unheeded, and the one before it holds. */
export function isControl(data: unknown): data is Control {
  if (typeof data !== 'object' || data === null) return false
  const { mode, rollout } = data as { [Name in keyof Control]: unknown }
  const isPercentage = typeof rollout === 'number' && rollout >= 0 && rollout <= 100
  return (mode === undefined || modes.some((one) => one === mode)) && (rollout === undefined || isPercentage)
}

/** Settings that are kept: one that is wrong must not take the last right one with it. */
export const keptSettings = 16

/** Request header in which one client asks for a mode. */
export const modeHeader = 'everwire-mode'
