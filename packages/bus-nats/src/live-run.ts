import type { LiveNumbers } from './message.js'

/** Channels of which a publisher remembers its last number. */
const maxRemembered = 100_000

/** What one publisher sends to live channels, numbered, so that who hears it can see what is missing. */
export class LiveRun {
  readonly id: string
  /** Last number in a channel, those used longest ago first. */
  readonly #previous = new Map<string, number>()
  #number = 0
  #hasForgotten = false

  constructor(id: string) {
    this.id = id
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
    if (this.#previous.size <= maxRemembered) return
    this.#previous.delete(this.#previous.keys().next().value!)
    this.#hasForgotten = true
  }

  /** Number of a channel's last publication; 0 when there is none, -1 when it may be forgotten. */
  tail(channel: string): number {
    return this.#previous.get(channel) ?? (this.#hasForgotten ? -1 : 0)
  }
}
