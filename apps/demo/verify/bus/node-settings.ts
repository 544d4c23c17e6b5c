import type { Sabotage } from '../support/sabotage.js'

/** `no-tail-check`: nothing that JetStream republishes comes, and nobody looks whether anything is missing. */
export type NodeSabotage = Sabotage | 'no-tail-check'

/** What a node gets to know, as its one argument. */
export interface NodeSettings {
  port: number
  servers: readonly string[]
  sabotage?: NodeSabotage | undefined
  /** Nothing that JetStream republishes comes. */
  deaf?: boolean | undefined
}

/** Publications kept per channel: more than any scenario publishes, so that nothing may expire. */
export const historySize = 10_000
export const historyPattern = 'history:*'
export const livePattern = 'live:*'

export const isHistory = (channel: string): boolean => channel.startsWith('history:')

/** What the node's process is asked, and what it says. */
export type NodeRequest = { id: number; channel: string; event: string; data: unknown }
export type NodeAnswer =
  | { kind: 'ready' }
  | { kind: 'failed'; code: string; message: string }
  | { kind: 'published'; id: number; position?: { epoch: string; offset: number } | undefined }
  | { kind: 'refused'; id: number; code: string }
