import { EverwireError } from '@everwire/core'

export interface BoundsOptions {
  /** Most requests under way to one other node. */
  perNode: number
  /** Most requests under way for one address, to whichever node. */
  perAddress: number
  /** A bound was met. */
  refused(message: string): void
}

const retryAfterMs = 1_000

/** Counts what this node asks others on behalf of clients. */
export class Bounds {
  readonly #options: BoundsOptions
  readonly #counts = new Map<string, number>()
  #size = 0

  constructor(options: BoundsOptions) {
    this.#options = options
  }

  /** Requests under way. */
  get size(): number {
    return this.#size
  }

  /** @returns takes it away again @throws EverwireError `rate-limited` */
  enter(node: string, address: string): () => void {
    const { perNode, perAddress, refused } = this.#options
    const bounds = [
      [`node ${node}`, perNode],
      [`address ${address}`, perAddress],
    ] as const
    for (const [name, most] of bounds)
      if ((this.#counts.get(name) ?? 0) >= most) {
        const message = `${most} requests for ${name} are under way to other nodes`
        refused(message)
        throw new EverwireError('rate-limited', message, { retryAfterMs })
      }
    this.#size++
    for (const [name] of bounds) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
    return () => {
      this.#size--
      for (const [name] of bounds) {
        const left = this.#counts.get(name)! - 1
        if (left > 0) this.#counts.set(name, left)
        else this.#counts.delete(name)
      }
    }
  }
}
