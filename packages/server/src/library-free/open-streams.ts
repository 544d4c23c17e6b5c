import { EverwireError } from '@everwire/core'

/** What is held open for clients without a library: bounded, and ended together. */
export class OpenStreams {
  readonly #most: number
  readonly #ends = new Set<() => void>()
  #closed = false

  constructor(most: number) {
    this.#most = most
  }

  get size(): number {
    return this.#ends.size
  }

  /** @throws EverwireError `too-many-streams`, `server-closing` */
  assertRoom(): void {
    if (this.#closed) throw new EverwireError('server-closing', 'the server is closing')
    if (this.size >= this.#most)
      throw new EverwireError('too-many-streams', `this node has its ${this.#most} streams`)
  }

  /**
   * Takes a place until the undo is called; `end` is called when the server closes.
   * @throws EverwireError `too-many-streams`, `server-closing`
   */
  hold(end: () => void): () => void {
    this.assertRoom()
    this.#ends.add(end)
    return () => this.#ends.delete(end)
  }

  /** Ends them all, and holds no more. */
  close(): void {
    this.#closed = true
    for (const end of [...this.#ends]) end()
  }
}
