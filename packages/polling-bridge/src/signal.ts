import type { Clock } from '@everwire/core'

/** What a signal gets to work with. */
export interface SignalContext {
  /** Everything that waits does so through it. */
  clock: Clock
  /** What the operator must hear. */
  log(level: 'info' | 'warn' | 'error', fields: Readonly<Record<string, unknown>>, message: string): void
}

/**
 * Tells the node that watches a resource to read it now, beside or instead of reading it again and again. Resolves,
 * with the undo, once no change that comes later is missed; what rejects is logged and tried again. It may call
 * `changed` for nothing.
 */
export type Signal = (changed: () => void, context: SignalContext) => (() => void) | Promise<() => void>
