import type { Cancel, Clock } from '@everwire/core'

/** Entries that last for the same time each, counted from when they were set; with one timer for all. */
export class ExpiringMap<Value> {
  readonly #clock: Clock
  readonly #lastMs: number
  /** In the order in which they end. */
  readonly #entries = new Map<string, { value: Value; until: number }>()
  #cancel: Cancel | undefined

  constructor(clock: Clock, lastMs: number) {
    this.#clock = clock
    this.#lastMs = lastMs
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: string): Value | undefined {
    return this.#entries.get(key)?.value
  }

  set(key: string, value: Value): void {
    this.#entries.delete(key)
    this.#entries.set(key, { value, until: this.#clock.now() + this.#lastMs })
    this.#cancel ??= this.#clock.after(this.#lastMs, () => this.#sweep())
  }

  delete(key: string): void {
    this.#entries.delete(key)
  }

  *[Symbol.iterator](): Iterator<readonly [key: string, value: Value]> {
    for (const [key, { value }] of this.#entries) yield [key, value]
  }

  clear(): void {
    this.#cancel?.()
    this.#cancel = undefined
    this.#entries.clear()
  }

  #sweep(): void {
    this.#cancel = undefined
    const now = this.#clock.now()
    for (const [key, { until }] of this.#entries) {
      if (until > now) {
        this.#cancel = this.#clock.after(until - now, () => this.#sweep())
        return
      }
      this.#entries.delete(key)
    }
  }
}
