import type { Client, ClientStats, ConnectionState, Explanation } from '@everwire/client'
import type { Move } from './moves.js'
import type { NodeControls } from './nodes-panel.js'
import type { LedgerSnapshot } from './page-ledger.js'
import type { PathControls } from './path-controls.js'

/** What scripts and the console may use, as `window.everwireDemo`. But for `client`, all is plain JSON. */
export interface EverwireDemo {
  /** Rises when something here changes its meaning. */
  readonly version: 1
  /** The page's client itself. */
  readonly client: Client
  /** Publisher of this page's stream; undefined until the server has told the visitor's name. */
  readonly publisher: string | undefined
  readonly state: ConnectionState
  /** Name of the transport at hand: `websocket`, `sse` or `long-polling`. */
  readonly transport: string | undefined
  readonly roundTripMs: number | undefined
  explain(): Explanation
  stats(): ClientStats
  /** This page's own numbered stream in the ledger's channel. */
  readonly stream: {
    /** Publications a second; 0 while stopped. */
    readonly rate: number
    /** Number of the last publication, which is how many there were. */
    readonly sequence: number
    /** Publications without an answer. */
    readonly unanswered: number
    /** Goes on with the next number. Resolves when it runs. @param perSecond above 0, at most 500 */
    start(perSecond: number): Promise<void>
    /** Resolves when every publication has its answer. */
    stop(): Promise<void>
  }
  /** The ledger's counts. `settled`: everything had the time to arrive; what did not is lost. */
  ledger(options?: { settled?: boolean }): LedgerSnapshot
  /** Every change of the connection, oldest first, at most 500. */
  moves(): Move[]
  /** What the buttons do. */
  readonly path: Pick<PathControls, 'faults' | 'set' | 'cut' | 'restore'>
  /** The nodes, where there are several, and what their buttons do. */
  readonly nodes: NodeControls
}

declare global {
  interface Window {
    everwireDemo: EverwireDemo
  }
}
