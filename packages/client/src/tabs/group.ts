import type { Clock, EverwireError } from '@everwire/core'
import type { Carrier, CarrierHandler } from '../carrier.js'
import { holdLock, type TabChannel, type TabEnvironment } from './environment.js'
import { Follower } from './follower.js'
import { Leader } from './leader.js'
import { isOfLeader, readMessage, type TabMessage } from './messages.js'
import type { Role, RoleHandler } from './role.js'

export interface GroupOptions {
  /** Of the locks and of the broadcast channel; another for each user. */
  name: string
  userId: string | null
  /** Name of this tab, as long as it is in the group. */
  id: string
  clock: Clock
  random: () => number
  environment: TabEnvironment
  connect(handler: CarrierHandler): Carrier
  handler: RoleHandler
  /** The connection of this tab has ended for good. */
  ended(error: EverwireError | undefined): void
  /** Locks cannot be had here. */
  unable(): void
}

/** The tabs of one user: who holds the lock leads, all others follow. */
export class Group {
  readonly #options: GroupOptions
  readonly #channel: TabChannel
  readonly #releaseLife: () => void
  #releaseLead = () => {}
  #role: Role
  /** Highest heard of; those of later leaders are higher. */
  #term = 0
  #gone = false

  constructor(options: GroupOptions) {
    this.#options = options
    const { environment, name, id } = options
    this.#channel = environment.channel(name)
    this.#channel.onmessage = ({ data }) => {
      const message = readMessage(data)
      if (message && !this.#gone) this.#receive(message)
    }
    this.#role = this.#newFollower()
    // The leader hears by it that this tab has died: held before the leader knows of the tab.
    this.#releaseLife = holdLock(environment.locks, lifeLock(name, id), {
      granted: () => {
        if (this.#gone) return
        if (this.#role instanceof Follower) this.#role.join()
        this.#queue()
      },
      failed: () => this.#gone || options.unable(),
    })
  }

  get role(): Role {
    return this.#role
  }

  /** Safe to call twice. */
  leave(regroup = false): void {
    if (this.#gone) return
    this.#gone = true
    this.#role.leave(regroup)
    this.#releaseLead()
    this.#releaseLife()
    this.#channel.close()
  }

  #receive(message: TabMessage): void {
    if (!(this.#role instanceof Leader)) return this.#role.receive(message)
    if (!isOfLeader(message)) return this.#role.receive(message)
    // Another leads, or believes so: the later one is right.
    if (message.term > this.#term) this.#stepDown(message)
    else this.#role.receive({ kind: 'ask', from: '', term: this.#term })
  }

  #newFollower(): Follower {
    const { id, clock, random, handler } = this.#options
    return new Follower({
      id,
      clock,
      random,
      handler,
      term: this.#term,
      post: (message) => this.#channel.postMessage(message),
      follows: (term) => (this.#term = term),
      silent: () => this.#queue(true),
    })
  }

  /** Waits for its turn to lead, or takes the lead from one that does not answer. */
  #queue(steal = false): void {
    this.#releaseLead()
    this.#releaseLead = holdLock(
      this.#options.environment.locks,
      this.#options.name,
      {
        granted: () => this.#lead(),
        failed: (wasStolen) => {
          if (this.#gone) return
          if (wasStolen) this.#stepDown()
          else this.#options.unable()
        },
      },
      { steal },
    )
  }

  #lead(): void {
    if (this.#gone) return
    const { name, userId, random, environment, connect, handler, ended } = this.#options
    this.#role.leave()
    // Rises over reloads too, when nobody is there to tell the last one; the fraction tells two of one moment apart.
    this.#term = Math.max(Date.now(), Math.floor(this.#term) + 1) + random()
    const leader = new Leader({
      term: this.#term,
      userId,
      locks: environment.locks,
      lifeLock: (tab) => lifeLock(name, tab),
      connect,
      handler,
      ended,
      post: (message) => this.#channel.postMessage(message),
    })
    this.#role = leader
    leader.start()
    handler.changed()
  }

  #stepDown(message?: TabMessage): void {
    this.#role.leave()
    const follower = this.#newFollower()
    this.#role = follower
    this.#queue()
    if (message) follower.receive(message)
    else follower.join()
    this.#options.handler.changed()
  }
}

const lifeLock = (name: string, tab: string) => `${name} tab ${tab}`
