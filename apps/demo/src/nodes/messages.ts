import type { NodeCounts } from '../shared.js'

/** Argument that makes the program a node. */
export const nodeArgument = '--as-node'

/** The first word to a node. Not in its arguments, which every user of the machine can read. */
export interface NodeSettings {
  natsUrl: string
  natsPrefix?: string
}

/** What a node tells whoever started it. */
export type NodeMessage =
  | { kind: 'listening'; nodeId: string; port: number }
  /** It could not start, and ends. `code` is an EverwireError's, or empty. */
  | { kind: 'failed'; code: string; message: string }
  | { kind: 'draining' }
  | { kind: 'counted'; sessions: number; counts: NodeCounts }
