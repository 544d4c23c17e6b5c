import { EverwireError, type EncodedFrame } from '@everwire/core'
import type { CarriedSession } from '../carrier.js'

export interface NumberedFrame {
  number: number
  frame: EncodedFrame
}

export interface TabSessionOptions {
  /** Frames go on now; else they wait, and can be taken back. */
  isOpen(): boolean
  push(frames: readonly NumberedFrame[]): void
  /** Takes a frame back that went on. */
  withdraw?(number: number): boolean
}

/** One tab's share of the leader's session, with numbers of its own. */
export class TabSession implements CarriedSession {
  readonly #options: TabSessionOptions
  #last = 0
  #waiting: NumberedFrame[] = []
  #scheduled = false
  ended = false

  constructor(options: TabSessionOptions) {
    this.#options = options
  }

  send(frame: EncodedFrame): number {
    if (this.ended) throw new EverwireError('closed', 'the session has ended')
    this.#waiting.push({ number: ++this.#last, frame })
    // Later: the answer must not come before the sender knows the number; and what one turn sends goes as one message.
    if (!this.#scheduled) queueMicrotask(() => this.flush())
    this.#scheduled = true
    return this.#last
  }

  withdraw(number: number): boolean {
    const at = this.#waiting.findIndex((waiting) => waiting.number === number)
    if (at >= 0) this.#waiting.splice(at, 1)
    return at >= 0 || (this.#options.withdraw?.(number) ?? false)
  }

  /** Sends what waits, if it may go on. */
  flush(): void {
    this.#scheduled = false
    if (this.ended || this.#waiting.length === 0 || !this.#options.isOpen()) return
    const frames = this.#waiting
    this.#waiting = []
    this.#options.push(frames)
  }
}
