import { EverwireError, type Cancel, type Clock, type Nodes } from '@everwire/core'
import type { ServerSession } from '../client-session.js'
import type { Sessions } from '../sessions.js'
import type { Handover } from './handover.js'
import type { Notes } from './notes.js'

export interface DrainOptions {
  nodes: Nodes | undefined
  clock: Clock
  sessions: Sessions
  handover: Handover | undefined
  /** Missing where there is one node only. */
  notes: Notes | undefined
  log(fields: Readonly<Record<string, unknown>>, message: string): void
}

export interface DrainTimes {
  /** How long readiness fails before the first session is handed over, in milliseconds. */
  noticeMs: number
  /** After so long, counted from the start, the sessions that are left end, in milliseconds. */
  deadlineMs: number
}

/** What became of the sessions of a node that was drained. */
export interface DrainReport {
  /** Sessions that go on at other nodes. */
  handedOver: number
  /** Sessions that ended: their clients open new ones, and recover by position. */
  recovered: number
  /** Milliseconds. */
  ms: number
}

/** Handovers under way at once. */
const most = 64
/** Sessions a second, where they are few. */
const leastRate = 100
/** Part of the time over which sessions are spread. */
const spread = 0.5
const againMs = 100
const maxCutMs = 5_000
/** As long as another node may ask for an answer that did not come. */
const confirmWaits = 30
/** What a client that came too late is asked to wait. */
const retryAfterMs = 500

/** Gives all sessions of this node away, paced and jittered: other nodes must not feel it. */
export class Drain {
  readonly #options: DrainOptions
  /** Nodes that said that they take nothing. */
  readonly #others = new Set<string>()
  #running: Promise<DrainReport> | undefined
  #turn = 0

  constructor(options: DrainOptions) {
    this.#options = options
    options.nodes?.handle('draining', (_body, from) => {
      for (const node of this.#others) if (options.nodes!.isGone(node)) this.#others.delete(node)
      this.#others.add(from)
    })
  }

  get isRunning(): boolean {
    return this.#running !== undefined
  }

  /** Once; asked again it is the same. */
  run(times: DrainTimes): Promise<DrainReport> {
    return (this.#running ??= this.#run(times))
  }

  async #run({ noticeMs, deadlineMs }: DrainTimes): Promise<DrainReport> {
    const { sessions, nodes, clock, log } = this.#options
    const started = clock.now()
    sessions.refuse(new EverwireError('server-closing', 'the server is closing', { retryAfterMs }))
    nodes?.tell('draining', null)
    log({ sessions: sessions.size, nodes: this.#ready().length }, 'draining')
    // Load balancers look now and then; what they still send here is served.
    if (noticeMs > 0 && this.#ready().length > 0) await this.#sleep(Math.min(noticeMs, deadlineMs))
    const given = this.#given
    await this.#giveAll(started + deadlineMs)
    const recovered = sessions.size
    for (const session of [...sessions]) session.end('server-closing', 'the server is closing')
    await this.#options.notes?.leave()
    const isUnconfirmed = () => (this.#options.handover?.unconfirmed ?? 0) > 0
    for (let waits = 0; isUnconfirmed() && waits < confirmWaits; waits++) await this.#sleep(againMs)
    const report = { handedOver: this.#given - given, recovered, ms: Math.round(clock.now() - started) }
    log({ ...report }, 'drained')
    return report
  }

  async #giveAll(deadline: number): Promise<void> {
    const { sessions, clock } = this.#options
    // Some may still be on their way here.
    const isDone = () => sessions.size === 0 && !this.#options.handover?.pending
    let cutSince: number | undefined
    while (!isDone() && clock.now() < deadline && this.#ready().length > 0) {
      // Cut off from the others for long: nobody will take them.
      cutSince = this.#options.nodes?.connected ? undefined : (cutSince ?? clock.now())
      if (cutSince !== undefined && clock.now() - cutSince > maxCutMs) return
      const waiting = this.#shuffled([...sessions])
      const rate = Math.max(leastRate, waiting.length / ((spread * (deadline - clock.now())) / 1_000))
      const begun = clock.now()
      const giver = async (first: number) => {
        for (let at = first; at < waiting.length && clock.now() < deadline; at += most) {
          // The first go at once.
          const dueAt = begun + (Math.max(0, at - most + Math.random()) / rate) * 1_000
          if (dueAt > clock.now()) await this.#sleep(dueAt - clock.now())
          await this.#give(waiting[at]!)
        }
      }
      let cancel: Cancel = () => {}
      const over = new Promise<void>((resolve) => (cancel = clock.after(deadline - clock.now(), resolve)))
      const givers = Array.from({ length: Math.min(most, waiting.length) }, (_, first) => giver(first))
      await Promise.race([Promise.all(givers), over])
      cancel()
      // Some could not be taken yet.
      if (!isDone()) await this.#sleep(againMs)
    }
  }

  async #give(session: ServerSession): Promise<void> {
    const ready = this.#ready()
    const to = ready[this.#turn++ % ready.length]
    if (to !== undefined && !session.core.ended) await this.#options.handover?.give(session, to)
  }

  get #given(): number {
    return this.#options.handover?.given ?? 0
  }

  /** Nodes that may take sessions. */
  #ready(): string[] {
    return (this.#options.nodes?.others ?? []).filter((node) => !this.#others.has(node))
  }

  #shuffled(list: ServerSession[]): ServerSession[] {
    for (let i = list.length - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1))
      ;[list[i], list[j]] = [list[j]!, list[i]!]
    }
    return list
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#options.clock.after(ms, resolve))
  }
}
