import type { EncodedFrame } from '@everwire/core'

/** A publication as it goes out: one encoded frame for every reader. */
export interface RingItem {
  readonly offset: number
  /** Offset of the publication before it, as the frame says. */
  readonly previous: number
  readonly frame: EncodedFrame
  /** Public id of the one session that gets `skip` instead. */
  readonly except?: string | undefined
  /** Moves the position and shows nothing. */
  readonly skip?: EncodedFrame | undefined
}

/** The newest publications of a channel on this node, from which most readers catch up. */
export class Ring {
  readonly #size: number
  #items: RingItem[] = []
  #from: number

  /** @param from the ring knows everything after this offset */
  constructor(size: number, from: number) {
    this.#size = size
    this.#from = from
  }

  /** Everything after this offset is here. */
  get from(): number {
    return this.#from
  }

  push(item: RingItem): void {
    this.#items.push(item)
    if (this.#items.length > this.#size * 2) {
      const gone = this.#items.length - this.#size
      this.#from = this.#items[gone - 1]!.offset
      this.#items = this.#items.slice(gone)
    }
  }

  /** What comes before the oldest here, after `from`; left out when it would be more than the ring holds. */
  fill(items: readonly RingItem[], from: number): void {
    if (items.length + this.#items.length > this.#size * 2) return
    this.#items = [...items, ...this.#items]
    this.#from = from
  }

  /** Up to `limit` items after `offset`; undefined when some of those may not be here any more. */
  after(offset: number, limit: number): readonly RingItem[] | undefined {
    if (offset < this.#from) return undefined
    let low = 0
    let high = this.#items.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#items[middle]!.offset <= offset) low = middle + 1
      else high = middle
    }
    return this.#items.slice(low, low + limit)
  }
}
