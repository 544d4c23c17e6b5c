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
const everything = Number.MAX_SAFE_INTEGER
/** Sequences that were told last, by which one that was made up is found. */
const maxRemembered = 16

interface Held {
  publication: StoredPublication
  previous: number
}

/**
 * One channel with history, as it is republished: proves for each message that none is missing before it, or reads
 * what is. While it reads, what comes is held back.
 */
export class Follower {
  readonly subject: string
  readonly #partition: Partition
  readonly #listener: StoredListener
  readonly #connection: Connection
  #subscription: Subscription | undefined
  /** Position of the listener: the newest that was told, or a later place up to which the channel has nothing. */
  #last = 0
  /** Sequence of the channel's newest publication, which the next one names; 0 when none is known. */
  #newest = 0
  #verified = 0
  /** Where it began, and what was told since, as far as remembered: nothing of the channel lies between. */
  #told: number[] = []
  #held: Held[] | undefined = []
  #started = false
  #stopped = false
  #working = false
  /** The stream is another, or was put back. */
  #restarted = false
  /** Came without a proof that it follows what was told. */
  #unproven: Held | undefined
  /** Came though a later one was told. */
  #contradicted: number | undefined
  /** Up to here it must be read; whatever lies beyond is read along. */
  #wanted = 0

  constructor(partition: Partition, subject: string, connection: Connection, listener: StoredListener) {
    this.#partition = partition
    this.subject = subject
    this.#connection = connection
    this.#listener = listener
  }

  /** Everything of the channel up to here was told, or told to be missing. */
  get verified(): number {
    return this.#verified
  }

  /** Resolves once nothing can be missed: listens first, then asks the leader for the tail. */
  async start(subscribe: () => Subscription): Promise<void> {
    this.#subscription = subscribe()
    this.#partition.followers.add(this)
    try {
      // Asked over the same connection after the interest was told: the leader's server knows of it before it answers.
      const epoch = await this.#begin()
      if (this.#stopped) return
      this.#started = true
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
    if (!this.#held) this.#take({ publication, previous })
    else if (this.#held.length < maxHeld) this.#held.push({ publication, previous })
    else this.#wanted = everything
  }

  /** Asks for the tail, and reads what never came; the stream reaches from `first` to `last`. What is being read already is asked for the next time. */
  async check(first: number, last: number): Promise<void> {
    if (!this.#isIdle()) return
    const told = this.#newest
    const { newest } = await this.#partition.tail(this.subject)
    if (!this.#isIdle() || this.#newest !== told) return
    if (newest > this.#last) return this.#read(newest)
    if (newest < told && told >= first) return await this.#checkTold(told)
    // Away for longer than anything is kept: whatever was stored and has left meanwhile, nobody can tell.
    if (first > this.#verified + 1) this.#lose(Math.max(this.#last, last))
    else this.#verified = Math.max(this.#verified, last)
  }

  /** Nothing of the channel was stored up to here but what was told. */
  verify(through: number): void {
    if (this.#isIdle()) this.#verified = Math.max(this.#verified, through)
  }

  /** Something may have been stored that did not come. */
  hint(): void {
    this.#read(everything)
  }

  /** The stream is another, or was put back: it goes on from its tail. */
  restart(): void {
    this.#restarted = true
    this.#work()
  }

  #isIdle(): boolean {
    return this.#started && !this.#stopped && this.#held === undefined
  }

  /** Takes the tail for the place to go on from. @returns the epoch that it is of */
  async #begin(): Promise<string> {
    for (;;) {
      this.#restarted = false
      try {
        // Makes the stream where it is missing.
        await this.#partition.epoch()
        const { newest, known } = await this.#partition.tail(this.subject)
        const epoch = await this.#partition.epoch()
        // Asked while the epoch changed, it may be of either.
        if (this.#restarted) continue
        this.#newest = newest
        this.#last = this.#verified = known
        this.#told = [known]
        return epoch
      } catch (error) {
        this.#restarted = true
        throw error
      }
    }
  }

  #take(held: Held): void {
    const { publication, previous } = held
    const { offset } = publication
    if (offset <= this.#last) return this.#compare(offset)
    // Whoever may publish on the nodes' own subjects could make a sequence up: the stream knows better.
    const believable = offset <= this.#partition.known + maxJump
    if (previous === this.#newest && previous > 0 && believable) return this.#tell(publication)
    if (previous <= this.#last) this.#unproven = held
    else this.#wanted = Math.max(this.#wanted, offset)
    this.#work()
  }

  /**
   * It names no later publication than the listener has. That is so for the first of a channel, and also when retention
   * took the one before it: it follows only when nothing beyond what is verified has left the stream.
   */
  async #prove({ publication, previous }: Held): Promise<void> {
    const { first, last } = await this.#partition.reach()
    if (this.#restarted) return
    this.#unproven = undefined
    const { offset } = publication
    if (offset <= this.#last) return
    if (previous <= this.#last && first <= this.#verified + 1 && offset <= last) this.#tell(publication)
    else this.#wanted = Math.max(this.#wanted, offset)
  }

  /** One that comes late was told before; otherwise it is of another epoch, or what was told in its place was made up. */
  #compare(offset: number): void {
    if (offset <= (this.#told[0] ?? offset) || this.#told.includes(offset)) return
    this.#contradicted = Math.min(this.#contradicted ?? offset, offset)
    this.#work()
  }

  async #resolve(contradicted: number): Promise<void> {
    // Another epoch restarts this follower.
    await this.#partition.look()
    if (this.#stopped || this.#restarted) return
    this.#contradicted = undefined
    const sound = this.#told.filter((one) => one < contradicted)
    this.#lose(sound.at(-1) ?? this.#last)
    this.#told = sound.length > 0 ? sound : this.#told
    this.#wanted = everything
  }

  /** What followed the last that was told may be missing, or made up: it goes on after this offset. */
  #lose(offset: number): void {
    this.#last = this.#newest = this.#verified = offset
    this.#told = [offset]
    this.#listener.gap('expired', { epoch: this.#partition.currentEpoch, offset })
  }

  #tell(publication: StoredPublication): void {
    // The listener may have ended it in the middle of a batch, or while the stream was asked.
    if (this.#stopped) return
    this.#last = this.#newest = publication.offset
    this.#verified = Math.max(this.#verified, publication.offset)
    this.#partition.told(publication.offset)
    this.#told.push(publication.offset)
    if (this.#told.length > maxRemembered) this.#told.shift()
    this.#listener.publication(publication)
  }

  /** What was told last is not in the stream: was it never there, it may have hidden what was. */
  async #checkTold(told: number): Promise<void> {
    const { newest } = await this.#partition.tail(this.subject)
    // The stream may be another one, of which this follower hears then; or age may have taken it.
    const { state } = await this.#partition.look()
    if (!this.#isIdle() || this.#newest !== told || newest >= told || told < state.first_seq) return
    this.#lose(Math.max(newest, state.first_seq - 1))
  }

  #read(to: number): void {
    this.#wanted = Math.max(this.#wanted, to)
    this.#work()
  }

  /** Reads until nothing is wanted any more; what comes meanwhile waits, and is taken then. */
  #work(): void {
    if (this.#working || !this.#started || this.#stopped) return
    this.#working = true
    this.#held ??= []
    void this.#untilDone().finally(() => {
      this.#working = false
      if (!this.#stopped && !this.#connection.closed) this.#release()
    })
  }

  async #untilDone(): Promise<void> {
    while (!this.#stopped && !this.#connection.closed && this.#hasWork())
      try {
        if (this.#restarted) await this.#beginAnew()
        else if (this.#contradicted !== undefined) await this.#resolve(this.#contradicted)
        else if (this.#unproven) await this.#prove(this.#unproven)
        else await this.#readOn()
      } catch {
        // The servers are out of reach, which the connection and the check have told: it is asked again.
        await this.#connection.ready(retryMs).catch(() => {})
        await this.#connection.sleep(retryMs)
      }
  }

  #hasWork(): boolean {
    const isDoubted = this.#unproven !== undefined || this.#contradicted !== undefined
    return this.#restarted || isDoubted || this.#wanted > this.#last
  }

  async #beginAnew(): Promise<void> {
    const epoch = await this.#begin()
    if (this.#stopped) return
    // They may be of either epoch; what is of this one is read again.
    this.#held = []
    this.#unproven = this.#contradicted = undefined
    this.#wanted = everything
    this.#listener.gap('epoch', { epoch, offset: this.#last })
  }

  /** Reads a part of what is wanted. When the stream has no more, nothing is wanted any more. */
  async #readOn(): Promise<void> {
    const { known } = this.#partition
    const wanted = this.#wanted
    const range = { after: this.#last, limit: chunk, to: wanted }
    const page = await this.#partition.readAfter(this.subject, range, this.#verified)
    const { publications, complete } = page
    if (this.#stopped || this.#restarted) return
    const first = publications[0]
    if (!complete) this.#lose(first ? first.offset - 1 : Math.max(this.#last, Math.min(known, page.from - 1)))
    for (const publication of publications) this.#tell(publication)
    // Asked for more meanwhile, it may be there by now; and what is not complete may have been left half read.
    if (complete && publications.length < chunk && this.#wanted === wanted) this.#wanted = 0
  }

  /** What was held back comes now, as if it had just been heard. */
  #release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const [index, one] of held.entries()) {
      this.#take(one)
      if (this.#isIdle()) continue
      this.#held = [...held.slice(index + 1), ...(this.#held ?? [])]
      return
    }
    if (this.#hasWork()) this.#work()
  }
}
