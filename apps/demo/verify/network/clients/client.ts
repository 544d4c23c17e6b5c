import type { Explanation } from '@everwire/client'
import type { Entry } from '../entry.js'
import type { RecorderOptions, Sight } from '../recorder.js'

export type ClientKind = 'node' | 'chromium'

/** How one kind of client goes along a path. */
export interface Way {
  /** Where it goes, without a slash at the end. */
  url: string
  /** The forward proxy that it is told to use. */
  proxy?: string
}

export type VisitOptions = Pick<RecorderOptions, 'name' | 'channel' | 'jitter'>

/** One visit: a client from before its connect() until it is closed. */
export interface Visit {
  connect(): Promise<void>
  publish(on: boolean): Promise<void>
  look(): Promise<Sight>
  take(): Promise<Entry[]>
  explain(): Promise<Explanation>
  /** Missing where the network cannot be taken away from outside. */
  offline?(on: boolean): Promise<void>
  close(): Promise<void>
}

/** Somebody who comes again, and remembers. */
export interface Visitor {
  readonly kind: ClientKind
  /** What was remembered is forgotten. */
  forget(): Promise<void>
  visit(options: VisitOptions): Promise<Visit>
  close(): Promise<void>
}
