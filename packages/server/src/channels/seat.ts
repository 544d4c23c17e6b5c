import type { LiveItem } from './entry.js'

const maxFrames = 1_000
const maxBytes = 1_048_576

/**
 * A place in a channel for a reader that is on its way from another node: what is broadcast meanwhile is kept for it.
 * In a channel with history nothing need be kept: ring and bus have it.
 */
export class Seat {
  readonly key: string
  #items: LiveItem[] = []
  #bytes = 0
  #broken = false

  constructor(key: string) {
    this.key = key
  }

  /** In order of arrival. */
  get items(): readonly LiveItem[] {
    return this.#items
  }
  /** Something was lost, or was more than is kept. */
  get broken(): boolean {
    return this.#broken
  }

  keep(item: LiveItem): void {
    if (this.#broken) return
    this.#bytes += item.frame.bytes
    if (this.#items.push(item) > maxFrames || this.#bytes > maxBytes) this.break()
  }

  break(): void {
    this.#broken = true
    this.#items = []
  }
}
