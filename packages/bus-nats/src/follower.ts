import type { StoredListener, StoredPublication } from '@everwire/core'
import type { Subscription } from '@nats-io/transport-node'
import type { Connection } from './connection.js'
import type { Partition } from './partition.js'

/** Publications that wait while a hole is being read; beyond, they are read from the stream too. */
const maxHeld = 1_000
const chunk = 100
/** How far a sequence may jump until the leader is asked whether it is true. */
const maxJump = 10_000
const retryMs = 250

interface Held {
  publication: StoredPublication
  previous: number
}

/**
 * One channel with history, as it is republished: proves for each message that none is missing before it, or reads
 * what is. `last` is the newest that was told; nothing of the channel is unknown up to `verified`.
 */
export class Follower {
  readonly #partition: Partition
  readonly subject: string
  readonly #listener: StoredListener
  readonly #connection: Connection
  #subscription: Subscription | undefined
  #last = 0
  /** Sequence of the channel's newest publication, which the next one names; 0 when none is known. */
  #newest = 0
  #verified = 0
  #held: Held[] | undefined = []
  #overflowed = false
  #reading = false
  #restarted = false
  #stopped = false

  constructor(partition: Partition, subject: string, connection: Connection, listener: StoredListener) {
    this.#partition = partition
    this.subject = subject
    this.#connection = connection
    this.#listener = listener
  }

  /** Resolves once nothing can be missed: listens first, then asks the leader for the tail. */
  async start(subscribe: () => Subscription): Promise<void> {
    this.#subscription = subscribe()
    this.#partition.followers.add(this)
    try {
      // Asked over the same connection after the interest was told: the leader's server knows of it before it answers.
      const epoch = await this.#partition.epoch()
      const { tail, known } = await this.#partition.tail(this.subject)
      this.#begin(tail, known)
      this.#restarted = false
      this.#listener.start({ epoch, offset: this.#last })
      this.#release()
    } catch (error) {
      this.stop()
      throw error
    }
  }

  stop(): void {
    this.#stopped = true
    this.#partition.followers.delete(this)
    this.#subscription?.unsubscribe()
  }

  /** A republished message of the channel. */
  heard(publication: StoredPublication, previous: number): void {
    if (this.#stopped) return
    if (this.#held) {
      if (this.#held.length < maxHeld) this.#held.push({ publication, previous })
      else this.#overflowed = true
      return
    }
    this.#take({ publication, previous })
  }

  /** Asks for the tail; reads what never came. Afterwards nothing up to `through` is unknown. */
  async check(through: number): Promise<void> {
    if (this.#stopped || this.#held) return
    const told = this.#newest
    const { tail } = await this.#partition.tail(this.subject)
    if (!this.#isIdle()) return
    if (told > tail && this.#newest === told) {
      // What was told is not in the stream: an operator took it away, or it was never there, and hid what was.
      this.#last = this.#newest = tail
      this.#listener.gap('expired', { epoch: await this.#partition.epoch(), offset: tail })
    } else if (tail > this.#last) await this.#read(tail)
    if (this.#isIdle()) this.#verified = Math.max(this.#verified, through)
  }

  /** The stream is another, or was put back: it goes on from its tail. */
  restart(): void {
    if (this.#stopped) return
    this.#restarted = true
    if (!this.#reading && this.#last > 0) void this.#read(0)
  }

  #begin(tail: number, known: number): void {
    this.#newest = tail
    // Nothing of the channel lies between the two.
    this.#last = this.#verified = Math.max(tail, known)
  }

  #isIdle(): boolean {
    return !this.#stopped && this.#held === undefined
  }

  #take({ publication, previous }: Held): void {
    const { offset } = publication
    if (offset <= this.#last) return
    // Whoever may publish on the node's own subjects could make a sequence up: the stream knows better.
    const believable = offset <= this.#partition.known + maxJump
    if (previous === this.#newest && previous > 0 && believable) this.#tell(publication)
    else void this.#read(offset)
  }

  #tell(publication: StoredPublication): void {
    this.#last = this.#newest = publication.offset
    this.#verified = Math.max(this.#verified, publication.offset)
    this.#listener.publication(publication)
  }

  /** What was held back comes now, as if it had just been heard. */
  #release(): void {
    const held = this.#held ?? []
    const overflowed = this.#overflowed
    this.#held = undefined
    this.#overflowed = false
    for (const [index, one] of held.entries()) {
      this.#take(one)
      if (this.#held) {
        this.#held = [...held.slice(index + 1), ...(this.#held as Held[])]
        this.#overflowed = overflowed
        return
      }
    }
    if (overflowed) void this.#read(Number.MAX_SAFE_INTEGER)
  }

  /** Reads what the stream has after the last that was told, up to `to` or the tail; what comes meanwhile waits. */
  async #read(to: number): Promise<void> {
    if (this.#reading) return
    this.#reading = true
    this.#held ??= []
    for (;;) {
      try {
        if (this.#restarted) {
          await this.#beginAnew()
          to = Number.MAX_SAFE_INTEGER
        }
        await this.#readOn(to)
        if (!this.#restarted) break
      } catch {
        // The servers are out of reach: there is nothing else to do than to ask again.
        await this.#connection.ready(retryMs).catch(() => {})
        await this.#connection.sleep(retryMs)
      }
      if (this.#stopped || this.#connection.closed) return
    }
    this.#reading = false
    this.#release()
  }

  async #beginAnew(): Promise<void> {
    this.#restarted = false
    const epoch = await this.#partition.epoch()
    const { tail, known } = await this.#partition.tail(this.subject)
    this.#begin(tail, known)
    // They may be of either epoch; what is of this one is read again.
    this.#held = []
    this.#listener.gap('epoch', { epoch, offset: this.#last })
  }

  async #readOn(to: number): Promise<void> {
    while (!this.#stopped && !this.#restarted && this.#last < to) {
      const range = { after: this.#last, limit: chunk, to }
      const { publications, complete } = await this.#partition.readAfter(this.subject, range, this.#verified)
      if (this.#stopped || this.#restarted) return
      const first = publications[0]
      if (!complete) {
        const offset = first ? first.offset - 1 : Math.max(this.#last, this.#partition.known)
        this.#last = offset
        this.#listener.gap('expired', { epoch: await this.#partition.epoch(), offset })
      }
      for (const publication of publications) this.#tell(publication)
      if (publications.length < chunk) return
    }
  }
}
