import type { Position } from '@everwire/core'
import type { Sabotage } from '../sabotage.js'

/**
 * `no-tail-check`: nothing that JetStream republishes comes, and nobody looks whether anything is missing.
 * `late-answers`: now and then a publication is stored late. `no-handover`: a node has no time to drain.
 */
export type NodeSabotage = Sabotage | 'no-tail-check' | 'late-answers' | 'no-handover'

/** What a node gets to know, as its one argument. */
export interface NodeSettings {
  port: number
  servers: readonly string[]
  sabotage?: NodeSabotage | undefined
  /** Nothing that JetStream republishes comes. */
  deaf?: boolean | undefined
  /** Options of Everwire that the scenario sets, such as `resumeWindowMs`. */
  limits?: Readonly<Record<string, number>> | undefined
}

/** Publications kept per channel: more than any scenario publishes, so that nothing may expire. */
export const historySize = 10_000
export const historyPattern = 'history:*'
export const livePattern = 'live:*'

export const isHistory = (channel: string): boolean => channel.startsWith('history:')

/** What became of the sessions of a node that drained. */
export interface Drained {
  handedOver: number
  recovered: number
  ms: number
}

/** What a node can be asked, and what it answers. */
export interface NodeQuestions {
  publish: { ask: { channel: string; event: string; data: unknown }; answer: Position | undefined }
  drain: { ask: undefined; answer: Drained }
  /** Closes the server in an orderly way; the process ends by itself then. */
  close: { ask: undefined; answer: undefined }
  /** In the text format of Prometheus. */
  metrics: { ask: undefined; answer: string }
  /** Milliseconds of a processor that it used so far. */
  cpu: { ask: undefined; answer: number }
}

export type NodeRequest = {
  [Kind in keyof NodeQuestions]: { id: number; kind: Kind; ask: NodeQuestions[Kind]['ask'] }
}[keyof NodeQuestions]

export type NodeMessage =
  | { kind: 'ready'; nodeId: string }
  | { kind: 'failed'; code: string; message: string }
  | { kind: 'answered'; id: number; answer: unknown }
  | { kind: 'refused'; id: number; code: string; message: string }
