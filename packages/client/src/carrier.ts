import type { EncodedFrame, ErrorCode, EverwireError, Frame } from '@everwire/core'

export type ConnectionState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed'

/** One try of one transport, and what became of it. */
export interface Attempt {
  transport: string
  /** Milliseconds since 1970. */
  at: number
  ok: boolean
  code?: ErrorCode | undefined
  reason: string
}

/** What speaks for or against one transport now. */
export interface TransportVerdict {
  name: string
  /**
   * `used` it carries the session · `possible` nothing speaks against it · `refused` by the server's policy ·
   * `unsupported` by this runtime · `set-back` it failed on this network, and is not tried for a time
   */
  use: 'used' | 'possible' | 'refused' | 'unsupported' | 'set-back'
  reason: string
}

/** Which transport, since when, and why not a better one. */
export interface Explanation {
  state: ConnectionState
  transport: string | undefined
  /** Milliseconds since this link attached. */
  upMs: number | undefined
  /** Every transport of the client in the order in which they would be tried. */
  transports: readonly TransportVerdict[]
  /** The latest attempts, oldest first. */
  attempts: readonly Attempt[]
  /** The same in one sentence. */
  sentence: string
}

/** What a carrier counts. */
export interface CarrierStats {
  /** Session frames received and sent in this session. */
  received: number
  sent: number
  /** Sessions opened, and times that a session went on over another link. */
  sessions: number
  resumes: number
}

/** The part of a session that channels and operations need. */
export interface CarriedSession {
  readonly ended: boolean
  /** Numbers a frame and sends it. @returns its number, which answers name */
  send(frame: EncodedFrame): number
  /** Takes a frame back that no link ever took. @returns false when it may have arrived */
  withdraw(number: number): boolean
}

/** Carries a client's frames: a connection of its own, or that of another tab. */
export interface Carrier {
  readonly state: ConnectionState
  readonly transport: string | undefined
  /** What others publish may not come now. */
  readonly stale: boolean
  /** Who the server says this is; undefined before the first welcome. */
  readonly userId: string | null | undefined
  /** Opens the connection if nothing did yet. */
  connect(): void
  /** Ends the session on the server too. Safe to call twice. */
  close(error?: EverwireError): void
  switchTo(transport: string): Promise<void>
  ping(): Promise<number>
  explain(): Explanation
  stats(): CarrierStats
}

/** Who hears what a carrier brings. */
export interface CarrierHandler {
  /** The state, or the link below it, changed. */
  state(state: ConnectionState, error?: EverwireError): void
  /** A new session began; frames may be sent to it. */
  began(session: CarriedSession, limits: { frameBytes: number; dedupWindowMs: number }): void
  /** The session is gone with what it had not answered. */
  lost(): void
  /** A session frame came, with its number. */
  frame(frame: Frame, number: number): void
  /** The node is cut off from the others, or is joined to them again. */
  stale(isStale: boolean): void
}
