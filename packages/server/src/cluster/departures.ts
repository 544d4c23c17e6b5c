import type { Cancel, Clock } from '@everwire/core'

/** What is known of a session that is not here any more. */
export interface Departure {
  /** The node that it moved to; undefined for one that ended. */
  readonly to: string | undefined
  /** The highest attempt that was accepted where this was known. */
  readonly gen: number
  readonly until: number
}

/**
 * Where sessions went. Each is remembered for one resume window, longer than any answer that could bring it back: who
 * forgot it sooner could take a session twice.
 */
export class Departures {
  readonly #clock: Clock
  readonly #windowMs: number
  /** In the order in which they end. */
  readonly #bySecret = new Map<string, Departure>()
  #cancel: Cancel | undefined

  constructor(clock: Clock, windowMs: number) {
    this.#clock = clock
    this.#windowMs = windowMs
  }

  get size(): number {
    return this.#bySecret.size
  }

  /** Those that moved, and where to. */
  *moved(): Iterable<readonly [secret: string, to: string]> {
    for (const [secret, { to }] of this.#bySecret) if (to !== undefined) yield [secret, to]
  }

  get(secret: string): Departure | undefined {
    return this.#bySecret.get(secret)
  }

  add(secret: string, to: string | undefined, gen: number): void {
    this.#bySecret.delete(secret)
    this.#bySecret.set(secret, { to, gen, until: this.#clock.now() + this.#windowMs })
    this.#cancel ??= this.#clock.after(this.#windowMs, () => this.#sweep())
  }

  /** The session is here again. */
  delete(secret: string): void {
    this.#bySecret.delete(secret)
  }

  close(): void {
    this.#cancel?.()
    this.#bySecret.clear()
  }

  #sweep(): void {
    this.#cancel = undefined
    const now = this.#clock.now()
    for (const [secret, { until }] of this.#bySecret) {
      if (until > now) {
        this.#cancel = this.#clock.after(until - now, () => this.#sweep())
        return
      }
      this.#bySecret.delete(secret)
    }
  }
}
