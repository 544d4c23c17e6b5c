import type { LiveNumbers } from './message.js'

/** What one publisher sends to live channels, numbered, so that who hears it can see what is missing. */
export class LiveRun {
  readonly id: string
  /** Channels of which the last number is known. */
  readonly #maxRemembered: number
  /** Last number in a channel, those used longest ago first. */
  readonly #previous = new Map<string, number>()
  #number = 0
  /** Highest last number of a channel that is remembered no more. */
  #forgotten = 0

  /** @param maxRemembered channels; a test's may be fewer */
  constructor(id: string, maxRemembered = 100_000) {
    this.id = id
    this.#maxRemembered = maxRemembered
  }

  /** Number of the newest publication, in any channel. */
  get number(): number {
    return this.#number
  }

  /** The numbers of the next publication; it has them once it is `sent`. */
  next(channel: string): LiveNumbers {
    return { run: this.id, number: this.#number + 1, previous: this.#previous.get(channel) ?? 0 }
  }

  sent(channel: string, { number }: LiveNumbers): void {
    this.#number = number
    this.#previous.delete(channel)
    this.#previous.set(channel, number)
    if (this.#previous.size <= this.#maxRemembered) return
    const [oldest] = this.#previous as Iterable<[string, number]>
    this.#previous.delete(oldest![0])
    // They go in the order of their numbers.
    this.#forgotten = oldest![1]
  }

  /** Number of a channel's last publication, or one that is not below it where that is forgotten; 0 without any. */
  tail(channel: string): number {
    return this.#previous.get(channel) ?? this.#forgotten
  }
}
