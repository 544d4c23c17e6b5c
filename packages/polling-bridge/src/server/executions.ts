import { AsyncResource } from 'node:async_hooks'
import type { Cancel, Clock } from '@everwire/core'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { imitate, record, varyOf, type Outcome } from './outcome.js'

/** One poll that wants the handler's answer. */
export interface Ask {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** Polls with equal keys are equal, but for what `Vary` says. */
  readonly key: string
  handler(): unknown
  /** Called in the turn in which the handler that answers this poll begins, with what `begin` of its leader gave. */
  begins(context: unknown): void
  /** Called on the one whose handler runs. */
  begin(): unknown
}

interface Member extends Ask {
  resolve(payload: unknown): void
  reject(error: unknown): void
  /** It has its answer, or its own handler makes one. */
  isServed: boolean
  /** It waits for a second execution, because the first is slow. */
  hasLeft: boolean
}

/** Equal polls: one execution that runs and holds up the next, and those that gather for that. */
interface Lane {
  readonly key: string
  current: object | undefined
  gathering: Member[]
  isScheduled: boolean
}

export interface ExecutionsOptions {
  clock: Clock
  /** After this one that runs holds up nobody. */
  slowMs: number
  counted(result: 'run' | 'shared'): void
}

/** More than this in `Vary` is as good as `*`. */
const maxVaries = 16

/**
 * Answers equal polls of one route with one run of its handler. A poll joins only what has not begun: whoever has
 * written, and then asks, sees what was written.
 */
export class Executions {
  readonly #options: ExecutionsOptions
  readonly #lanes = new Map<string, Lane>()
  /** Request headers that answers depended on. */
  readonly #varies = new Set<string>()
  readonly #running = new WeakMap<FastifyReply, () => void>()
  readonly #timers = new Set<Cancel>()
  /** What the last handler made could not be shared: the next polls do not wait for each other. */
  #isAlone = false

  constructor(options: ExecutionsOptions) {
    this.#options = options
  }

  /** Lanes in which somebody runs or waits. */
  get size(): number {
    return this.#lanes.size
  }

  /** What Fastify is to take for the handler's promise. */
  answer(ask: Ask): Promise<unknown> {
    // What an application keeps in AsyncLocalStorage, such as the tenant, is that of the handler's own request.
    const handler = AsyncResource.bind(() => ask.handler())
    return new Promise((resolve, reject) =>
      this.#join({ ...ask, handler, resolve, reject, isServed: false, hasLeft: false }),
    )
  }

  /** The answer of a reply has come to our hook: whoever waits for it may have it. */
  answered(reply: FastifyReply): void {
    this.#running.get(reply)?.()
  }

  close(): void {
    for (const cancel of this.#timers) cancel()
    this.#timers.clear()
  }

  #join(member: Member): void {
    if (this.#isAlone || this.#varies.size > maxVaries) return this.#run([member], () => {})
    const key = this.#keyOf(member)
    let lane = this.#lanes.get(key)
    if (!lane) this.#lanes.set(key, (lane = { key, current: undefined, gathering: [], isScheduled: false }))
    lane.gathering.push(member)
    if (!lane.current) this.#schedule(lane)
  }

  #keyOf({ key, request }: Ask): string {
    return JSON.stringify([key, [...this.#varies].map((name) => request.headers[name])])
  }

  /** At the end of the turn: what came together is one. */
  #schedule(lane: Lane): void {
    if (lane.isScheduled) return
    lane.isScheduled = true
    setImmediate(() => {
      lane.isScheduled = false
      const members = lane.gathering.splice(0).filter(({ isServed }) => !isServed)
      if (members.length === 0) {
        if (!lane.current) this.#lanes.delete(lane.key)
        return
      }
      // Whoever is gone may have a handler that notices.
      const leader = members.findIndex(({ reply }) => !reply.raw.destroyed)
      if (leader > 0) members.unshift(...members.splice(leader, 1))
      const current = {}
      lane.current = current
      const release = () => {
        if (lane.current !== current) return
        lane.current = undefined
        if (lane.gathering.length > 0) this.#schedule(lane)
        else this.#lanes.delete(lane.key)
      }
      const cancel = this.#options.clock.after(this.#options.slowMs, () => {
        this.#timers.delete(cancel)
        release()
        for (const member of members.slice(1))
          if (!member.isServed && !member.hasLeft) {
            member.hasLeft = true
            this.#join(member)
          }
      })
      this.#timers.add(cancel)
      this.#run(members, () => {
        cancel()
        this.#timers.delete(cancel)
        release()
      })
    })
  }

  /** Runs the handler of the first for all. */
  #run([leader, ...others]: Member[], over: () => void): void {
    const { request, reply } = leader!
    leader!.isServed = true
    this.#options.counted('run')
    const context = leader!.begin()
    leader!.begins(context)

    let isOver = false
    const end = (serve: (member: Member) => void) => {
      if (isOver) return
      isOver = true
      this.#running.delete(reply)
      reply.raw.off('close', gone)
      over()
      for (const member of others) if (!member.isServed) serve(member)
    }
    // The client went away, or the answer went out past our hook.
    const gone = () => end((member) => this.#join(member))
    const alone = () => {
      this.#isAlone = true
      end((member) => this.#run([member], () => {}))
    }
    const recording = record(reply, alone)
    reply.raw.once('close', gone)
    this.#running.set(reply, () => {
      const outcome = recording.finish()
      for (const name of varyOf(reply)) if (this.#varies.size <= maxVaries) this.#varies.add(name)
      if (!outcome || this.#varies.size > maxVaries) return alone()
      this.#isAlone = false
      end((member) => this.#serve(member, outcome, request, context))
    })

    void runHandler(leader!, recording.threw).then(leader!.resolve, leader!.reject)
  }

  #serve(member: Member, outcome: Outcome, request: FastifyRequest, context: unknown): void {
    const isOther = [...this.#varies].some((name) => member.request.headers[name] !== request.headers[name])
    if (isOther) return this.#join(member)
    member.isServed = true
    // Answered by somebody else meanwhile, such as the framework's own limit of time.
    if (member.reply.sent) return
    this.#options.counted('shared')
    member.begins(context)
    imitate(member.reply, outcome)
    if (outcome.thrown) member.reject(outcome.payload)
    else member.resolve(outcome.payload)
  }
}

/** As Fastify calls handlers; a promise that never settles stands for one that answers by itself. */
async function runHandler({ handler }: Ask, threw: () => void): Promise<unknown> {
  try {
    const result = handler()
    return result === undefined ? await new Promise<never>(() => {}) : await result
  } catch (error) {
    threw()
    throw error
  }
}
