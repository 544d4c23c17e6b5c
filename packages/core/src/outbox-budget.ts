import type { EncodedFrame } from './frame.js'
import type { OutboxKeeper } from './outbox.js'

/**
 * What many outboxes may keep together, in bytes; a frame that stands in several counts once. `exceeded` is told when
 * one more frame goes beyond, and should end sessions until it does not.
 */
export class OutboxBudget implements OutboxKeeper {
  readonly #limitBytes: number
  readonly #exceeded: () => void
  #bytes = 0

  constructor(limitBytes: number, exceeded: () => void) {
    this.#limitBytes = limitBytes
    this.#exceeded = exceeded
  }

  get bytes(): number {
    return this.#bytes
  }
  get isExceeded(): boolean {
    return this.#bytes > this.#limitBytes
  }

  add(frame: EncodedFrame): void {
    if (frame.outboxes++ > 0) return
    this.#bytes += frame.bytes
    if (this.isExceeded) this.#exceeded()
  }
  remove(frame: EncodedFrame): void {
    if (--frame.outboxes === 0) this.#bytes -= frame.bytes
  }
}
