/** What is measured: something that publishes text and delivers it. A round begins with a new one. */
export interface Candidate {
  /** Hears a live channel. Resolves once nothing that comes later is missed. */
  listen(channel: string, heard: Heard): Promise<void>
  /** Publishes to a live channel. Resolves once it is on its way. */
  broadcast(channel: string, text: string): Promise<unknown>
  /** Hears a channel with history. Resolves once nothing that comes later is missed. */
  follow(channel: string, heard: Heard): Promise<void>
  /** Publishes to a channel with history. Resolves once it is stored. */
  store(channel: string, text: string): Promise<unknown>
  close(): Promise<void>
}

export type Heard = (payload: Uint8Array | string) => void

/** Makes one; `run` is a name that no other has. */
export type CandidateFactory = (run: string) => Promise<Candidate>

/** What each channel with history keeps, in all candidates: more than a round publishes, so that nobody comes too late. */
export const history = { size: 100_000, ttlMs: 600_000 }
export const dedupWindowMs = 120_000
