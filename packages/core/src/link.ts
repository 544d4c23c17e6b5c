import type { EncodedFrame, Frame } from './frame.js'
import type { ErrorCode } from './codes.js'

/** One attached transport connection. */
export interface Link {
  /** Name of its transport. */
  readonly transport: string
  /** It ends with its first batch, and the next request may land on another node. @default false */
  readonly brief?: boolean
  /** Bytes handed over that have not left yet. */
  readonly bufferedBytes: number
  /**
   * Writes frames, in order. False when the link takes no more for now: these were taken, and `drained` tells when
   * it takes others. A link that is closed takes and forgets.
   */
  send(frames: readonly EncodedFrame[]): boolean
  /** Ends the link after what was sent. Safe to call twice. */
  close(code: ErrorCode, reason?: string): void
}

/** Who hears what a link brings; handed to the transport by the layer above. */
export interface LinkHandler {
  receive(frame: Frame): void
  /** The link takes frames again. */
  drained(): void
  /** The link is over, by whichever end; called once, and nothing after it. */
  closed(code: ErrorCode, reason?: string, retryAfterMs?: number): void
}
