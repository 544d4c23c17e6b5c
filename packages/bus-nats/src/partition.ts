import {
  EverwireError,
  randomBase32,
  type Clock,
  type HistoryPage,
  type Position,
  type StoredPublication,
} from '@everwire/core'
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  JetStreamApiError,
  RetentionPolicy,
  StorageType,
  type Consumer,
  type JetStreamClient,
  type JetStreamManager,
  type MsgRequest,
  type StreamInfo,
} from '@nats-io/jetstream'
import { nanos, type MsgHdrs } from '@nats-io/transport-node'
import type { Connection } from './connection.js'
import type { Follower } from './follower.js'
import { decodeMessage, headerOf } from './message.js'
import type { Registry } from './registry.js'
import { streamUp } from './stream-up.js'
import { classId, type StoredClass, type Subjects } from './subjects.js'

export interface PartitionOptions {
  connection: Connection
  jetStream: JetStreamClient
  manager: JetStreamManager
  registry: Registry
  subjects: Subjects
  history: StoredClass
  index: number
  manageStreams: boolean
  clock: Clock
  /** A stream was put back to an earlier state, or made anew; other nodes may not notice by themselves. */
  wentBack(stream: string): void
  log(level: 'info' | 'warn' | 'error', fields: Readonly<Record<string, unknown>>, message: string): void
}

/** The newest message that this node knows to have been stored, to see later that it still is. */
interface Witness {
  sequence: number
  subject: string
  id: string | undefined
}

/** A stream that is made anew, and one that is put back, is another. */
interface StreamEpoch {
  created: string
  rollbacks: number
}

/** A message of the stream, however it was read. */
interface Stored {
  seq: number
  subject: string
  headers?: MsgHdrs | undefined
  data: Uint8Array
}

/** Messages that are asked for one by one, before a consumer is worth its three round trips. */
const walkLength = 12
const followersAtOnce = 32
// In a cluster a stream is there before its leader, whom nats-server 2.9 may take 9 s to choose.
const upMs = 15_000
const confirmMs = 3_000
const confirmEveryMs = 250
const consumerIdleMs = 15_000
const fetchMs = 5_000
const fetchMessages = 500
const readAttempts = 3
const marksPerAge = 16
const maxTold = 100_000

/** One stream: a part of the channels of one history class. Knows its epoch, and what of it is proven. */
export class Partition {
  readonly stream: string
  readonly history: StoredClass
  readonly followers = new Set<Follower>()
  readonly #options: PartitionOptions
  readonly #captured: string
  #epoch: StreamEpoch | undefined
  #inspection: Promise<StreamInfo> | undefined
  /** When the stream was made that was seen to answer. */
  #upSince: string | undefined
  #witness: Witness | undefined
  /** The witness must be looked at, and what other nodes found out. */
  #doubted = false
  /** Highest sequence that is known to have been given. */
  #known = 0
  /** Everything up to here was told by some follower, or asked for. */
  #accounted = 0
  /** Of what was stored since, what followers have told. */
  readonly #told = new Set<number>()
  /** When this node stored a mark, and the sequence that it may have. */
  #marked = { at: -Infinity, sequence: -1 }

  constructor(options: PartitionOptions) {
    const { subjects, history, index } = options
    const id = classId(history, history.storage)
    this.#options = options
    this.history = history
    this.stream = subjects.stream(id, index)
    this.#captured = subjects.captured(id, index)
  }

  get known(): number {
    return this.#known
  }

  /** Resolves once the stream is there, and its epoch known. */
  async epoch(): Promise<string> {
    if (!this.#epoch) await this.inspect()
    return this.currentEpoch
  }

  /** The epoch as far as it is known; empty before the stream was seen. */
  get currentEpoch(): string {
    return this.#epoch ? epochText(this.#epoch) : ''
  }

  subject(channelTokens: string): string {
    return this.#captured + channelTokens
  }

  /** A message stands in the stream, as its leader says. What is republished proves nothing: anybody could make it up. */
  #saw(sequence: number, subject: string, id: string | undefined): void {
    this.#known = Math.max(this.#known, sequence)
    if (sequence > (this.#witness?.sequence ?? 0)) this.#witness = { sequence, subject, id }
  }

  /** Stores once, or throws what the driver throws; `id` recognises a repeat. */
  async publish(
    subject: string,
    payload: Uint8Array,
    options: { id: string; headers: MsgHdrs; timeoutMs: number },
  ): Promise<{ position: Position; duplicate: boolean }> {
    if (this.#doubted) await this.inspect().catch(() => {})
    const epoch = await this.epoch()
    const before = this.#known
    const { id, headers, timeoutMs } = options
    const ack = await this.#options.jetStream.publish(subject, payload, {
      msgID: id,
      headers,
      timeout: timeoutMs,
      // What to do about a failure is decided by the caller, who knows the dedup window.
      retries: 1,
    })
    const { seq, duplicate } = ack
    // Numbers only rise: one that does not, means that the stream is another, or was put back. It is stored all the same.
    if (!duplicate && seq <= before) await this.inspect().catch(() => {})
    // The stream was made anew meanwhile, before or after: a number of one must not be taken for one of the other.
    const isGone = this.currentEpoch !== epoch && !(await this.#holds(seq, id))
    if (!duplicate && !isGone) this.#saw(seq, subject, id)
    return {
      position: { epoch: isGone ? epoch : this.currentEpoch, offset: seq },
      duplicate: duplicate === true,
    }
  }

  async #holds(seq: number, id: string): Promise<boolean> {
    const message = await this.#ask({ seq })
    return message !== null && headerOf(message, idHeader) === id
  }

  /**
   * Looks at the stream, by its leader: makes it when it is missing, and finds out whether it is still the one that
   * was known. When it is not, every follower begins anew.
   */
  inspect(): Promise<StreamInfo> {
    this.#inspection ??= this.#inspect().finally(() => {
      this.#inspection = undefined
    })
    return this.#inspection
  }

  /**
   * Stores a mark: a message of no channel, on a subject of its own. Marks leave by age alone, so the stream's first
   * sequence tells what age has taken, however many old publications leave because their channels are full.
   */
  async #mark(lastSequence: number): Promise<void> {
    const { connection, clock } = this.#options
    const { ttlMs, dedupWindowMs } = this.history
    const now = clock.now()
    const isDue = now - this.#marked.at >= Math.max(ttlMs, dedupWindowMs) / marksPerAge
    if (!isDue || lastSequence <= this.#marked.sequence || !connection.connected) return
    this.#marked = { at: now, sequence: lastSequence + 1 }
    // `%` alone is no channel's token.
    await this.#options.jetStream.publish(`${this.#captured}%.${randomBase32(8)}`, undefined, { retries: 1 })
  }

  /** As `inspect`, but begun after this call. */
  async look(): Promise<StreamInfo> {
    await this.#inspection?.catch(() => {})
    return await this.inspect()
  }

  /** Finds what was stored and never came. Asks only for channels that may lack something: none while nothing is stored. */
  async check(): Promise<void> {
    const { state } = await this.inspect()
    await this.#mark(state.last_seq)
    const followers = this.#doubtful(state.last_seq)
    const worker = async () => {
      for (let next = followers.pop(); next; next = followers.pop())
        await next.check(state.first_seq, state.last_seq)
    }
    await Promise.all(Array.from({ length: followersAtOnce }, worker))
  }

  /** A follower has told this one: no other channel has it. */
  told(sequence: number): void {
    if (sequence > this.#accounted && this.#told.size < maxTold) this.#told.add(sequence)
  }

  /** Followers that may lack something up to `last`: none where all that was stored is accounted for. */
  #doubtful(last: number): Follower[] {
    let through = this.#accounted
    while (this.#told.has(through + 1)) through++
    const isAccounted = through >= last
    const from = this.#accounted
    this.#accounted = Math.max(from, last)
    for (const sequence of this.#told) if (sequence <= last) this.#told.delete(sequence)
    return [...this.followers].filter((follower) => {
      if (isAccounted && follower.verified >= from) follower.verify(last)
      return follower.verified < last
    })
  }

  /**
   * Sequence of the newest publication of a channel that is kept, by the leader; 0 when there is none. And a sequence
   * that was given before: nothing of the channel lies between the two.
   */
  async tail(subject: string): Promise<{ newest: number; known: number }> {
    const known = this.#known
    const message = await this.#ask({ last_by_subj: subject })
    if (!message) return { newest: 0, known }
    this.#saw(message.seq, subject, headerOf(message, idHeader))
    return { newest: message.seq, known: Math.max(known, message.seq) }
  }

  /** What the stream reaches from and to, as of a moment after this call. */
  async reach(): Promise<{ first: number; last: number }> {
    const { state } = await this.#info()
    return { first: state.first_seq, last: state.last_seq }
  }

  /**
   * Publications of a channel after an offset, oldest first, with nothing missing between them. They are complete when
   * it is proven that nothing was removed before the first either.
   * @param verified everything of the channel up to here is known to the caller
   * @returns with them, where the channel is whole from
   */
  async readAfter(
    subject: string,
    { after, limit, to = Number.MAX_SAFE_INTEGER }: { after: number; limit: number; to?: number | undefined },
    verified = after,
  ): Promise<Pick<HistoryPage, 'publications' | 'complete'> & { from: number }> {
    let from = after + 1
    for (let attempt = 1; ; attempt++) {
      const messages = await this.#walk(subject, from, limit, to)
      // Asked after the reading: what retention takes in the meantime would otherwise be jumped over.
      const whole = await this.#wholeFrom(subject, after, verified)
      if (whole === undefined)
        return { publications: messages.map(publicationOf), complete: true, from: after + 1 }
      // Retention takes the oldest first: from the oldest that is still there on, nothing was jumped over.
      const sound = messages.filter(({ seq }) => seq >= whole)
      // Where they leave faster than they can be read, they are gone.
      if (sound.length === messages.length || whole > to || attempt === readAttempts)
        return { publications: sound.map(publicationOf), complete: false, from: whole }
      from = whole
    }
  }

  /** The newest publications of a channel before an offset, oldest first. */
  async readBefore(subject: string, before: number, limit: number): Promise<StoredPublication[]> {
    const { state } = await this.inspect()
    const end = Math.min(before - 1, state.last_seq)
    if (end < state.first_seq) return []
    for (let span = limit * 4; ; span *= 16) {
      const from = Math.max(end - span + 1, state.first_seq, 1)
      const messages = await this.#consume(subject, from, Number.MAX_SAFE_INTEGER, end)
      if (messages.length < limit && from > state.first_seq) continue
      const newest = messages.slice(-limit)
      const { oldest, isFull } = await this.#kept(subject)
      const kept = isFull ? newest.filter(({ seq }) => seq !== oldest) : newest
      return kept.map(publicationOf)
    }
  }

  /** The servers were out of reach: who knows what they came back with. */
  doubt(): void {
    this.#doubted = true
  }

  async #inspect(): Promise<StreamInfo> {
    const { registry, wentBack } = this.#options
    const doubted = this.#doubted
    this.#doubted = false
    try {
      let info = await this.#info()
      const known = this.#epoch
      const isSame = known?.created === info.created
      let rollbacks: number
      if (isSame && (await this.#wentBack(info, doubted))) {
        rollbacks = await registry.countRollback(this.stream, known.rollbacks)
        wentBack(this.stream)
        info = await this.#info()
      } else {
        // Another node may have noticed what this one cannot.
        rollbacks = isSame && !doubted ? known.rollbacks : await registry.rollbacks(this.stream)
      }
      await this.#settle(info, { created: info.created, rollbacks })
      return info
    } catch (error) {
      this.#doubted ||= doubted
      throw unavailable(error)
    }
  }

  async #settle({ state }: StreamInfo, epoch: StreamEpoch): Promise<void> {
    const before = this.#epoch
    this.#epoch = epoch
    if (before && epochText(before) !== epochText(epoch)) {
      this.#options.log(
        'warn',
        { stream: this.stream, from: epochText(before), to: epochText(epoch) },
        'a stream was made anew or put back to an earlier state: its readers are told a gap',
      )
      this.#known = state.last_seq
      this.#witness = undefined
      this.#accounted = state.last_seq
      this.#told.clear()
      for (const follower of this.followers) follower.restart()
    } else this.#known = Math.max(this.#known, state.last_seq)
    if (state.last_seq <= (this.#witness?.sequence ?? 0)) return
    const newest = await this.#ask({ seq: state.last_seq })
    if (newest) this.#saw(newest.seq, newest.subject, headerOf(newest, idHeader))
  }

  /** Whether the stream has lost what it had: compared with what was known of it. */
  async #wentBack({ state }: StreamInfo, doubted: boolean): Promise<boolean> {
    const { connection, clock } = this.#options
    const known = this.#known
    const deadline = clock.now() + confirmMs
    let last = state.last_seq
    // A leader that has just been chosen is behind for a while, on a busy machine for seconds.
    while (last < known) {
      if (clock.now() >= deadline) return true
      await connection.sleep(confirmEveryMs)
      last = (await this.#info()).state.last_seq
    }
    // Or it has gone back, and has come as far again meanwhile: then what stands there is another message.
    const isDoubtful = doubted || state.last_seq < known
    const witness = this.#witness
    if (!isDoubtful || !witness || witness.sequence < state.first_seq) return false
    const message = await this.#ask({ seq: witness.sequence })
    if (!message) return false
    return message.subject !== witness.subject || headerOf(message, idHeader) !== witness.id
  }

  async #info(): Promise<StreamInfo> {
    const found = await this.#found()
    if (found.created === this.#upSince) return found
    const { connection, clock, manager } = this.#options
    await streamUp(connection, clock, this.subject('probe'), upMs)
    // While it was being made, it may have shown itself empty.
    const info = await manager.streams.info(this.stream)
    this.#upSince = info.created
    return info
  }

  /** The stream, made where it is missing. */
  async #found(): Promise<StreamInfo> {
    const { manager, manageStreams, history, wentBack } = this.#options
    try {
      return await manager.streams.info(this.stream)
    } catch (error) {
      if (!(error instanceof JetStreamApiError && error.code === streamNotFound)) throw unavailable(error)
      if (!manageStreams)
        throw new EverwireError('temporary', `the stream ${this.stream} is missing, and manageStreams is off`)
      // When several make it at once, nats-server 2.9 answers one of them only: it is there then.
      const info = await manager.streams.add(this.config(history)).catch((cause: unknown) =>
        manager.streams.info(this.stream).catch(() => {
          throw unavailable(cause)
        }),
      )
      // Who does not know yet would take its numbers for those of the last one.
      if (this.#epoch) wentBack(this.stream)
      this.#marked = { at: -Infinity, sequence: -1 }
      await this.#mark(0).catch(() => {})
      return info
    }
  }

  /** How the stream is made. */
  config({ size, ttlMs, replicas, storage, dedupWindowMs }: StoredClass) {
    const { subjects } = this.#options
    return {
      name: this.stream,
      description: 'Everwire: history of channels',
      subjects: [`${this.#captured}>`],
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      storage: storage === 'file' ? StorageType.File : StorageType.Memory,
      num_replicas: replicas,
      // One more than asked for: only when that is there, something may have been removed for it.
      max_msgs_per_subject: size + 1,
      // A stream cannot forget sooner than it recognises repeats: history of less than that is kept for longer.
      max_age: nanos(Math.max(ttlMs, dedupWindowMs)),
      duplicate_window: nanos(dedupWindowMs),
      // What is kept leaves by age and count only: JetStream answers a publication wherever its publisher says, also
      // on the subject that purges.
      deny_delete: true,
      deny_purge: true,
      republish: { src: `${this.#captured}>`, dest: `${subjects.prefix}.out.>` },
    }
  }

  /** Asks the leader: replicas lag, and expire by clocks of their own. */
  async #ask(query: MsgRequest | { seq: number; next_by_subj: string }): Promise<Stored | null> {
    try {
      const message = await this.#options.manager.streams.getMessage(this.stream, query as MsgRequest)
      if (!message) return null
      const { seq, subject, data } = message
      return {
        seq,
        subject,
        data,
        get headers() {
          return message.header
        },
      }
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === noMessageFound) return null
      throw unavailable(error)
    }
  }

  /** The next messages of a subject, in order, until `to` or `limit`, or until the leader knows no more. */
  async #walk(subject: string, from: number, limit: number, to: number): Promise<Stored[]> {
    const messages: Stored[] = []
    let next = from
    while (messages.length < limit && next <= to) {
      if (messages.length >= walkLength) {
        const rest = await this.#consume(subject, next, limit - messages.length, to)
        return [...messages, ...rest]
      }
      const message = await this.#ask({ seq: next, next_by_subj: subject })
      if (!message) break
      messages.push(message)
      next = message.seq + 1
    }
    return messages
  }

  /**
   * Messages of a subject from a sequence on, by a consumer that lives as long as the reading.
   * @throws EverwireError `temporary` when some did not come: they must not be taken for removed
   */
  async #consume(subject: string, from: number, limit: number, to: number): Promise<Stored[]> {
    const { manager, jetStream } = this.#options
    try {
      const info = await manager.consumers.add(this.stream, {
        ack_policy: AckPolicy.None,
        deliver_policy: DeliverPolicy.StartSequence,
        opt_start_seq: from,
        filter_subject: subject,
        inactive_threshold: nanos(consumerIdleMs),
        mem_storage: true,
        num_replicas: 1,
      })
      try {
        return await this.#fetchAll(
          jetStream.consumers.getConsumerFromInfo(info),
          info.num_pending,
          limit,
          to,
        )
      } finally {
        // It would end by itself; the servers need not wait for that.
        void manager.consumers.delete(this.stream, info.name).catch(() => {})
      }
    } catch (error) {
      throw unavailable(error)
    }
  }

  async #fetchAll(consumer: Consumer, pending: number, limit: number, to: number): Promise<Stored[]> {
    const messages: Stored[] = []
    let delivered = 0
    while (pending > 0 && messages.length < limit) {
      const max = Math.min(limit - messages.length, pending, fetchMessages)
      let came = 0
      for await (const message of await consumer.fetch({ max_messages: max, expires: fetchMs })) {
        came++
        if (message.info.deliverySequence !== ++delivered)
          throw new EverwireError('temporary', 'a part of the history did not come')
        pending = message.info.pending
        if (message.seq > to) return messages
        messages.push(message)
      }
      if (came > 0) continue
      // Nothing came: the rest has left the stream meanwhile, or the servers are out of reach.
      pending = (await consumer.info()).num_pending
      if (pending > 0) throw new EverwireError('temporary', 'a part of the history did not come')
    }
    return messages
  }

  /**
   * Where the channel is whole from: undefined when that is `after`. It is when what stands there is still there, for
   * retention takes the oldest first; or when nothing from `verified` on has left the stream by age, nor by count.
   */
  async #wholeFrom(subject: string, after: number, verified: number): Promise<number | undefined> {
    if (after > 0) {
      const there = await this.#ask({ seq: after })
      if (there?.subject === subject) return undefined
    }
    const { oldest, isFull, first, last } = await this.#kept(subject)
    if (oldest !== undefined && oldest <= after) return undefined
    if (!isFull && first <= verified + 1) return undefined
    return (oldest ?? last) + (isFull ? 1 : 0)
  }

  /** What is there of a channel. Of a full one the oldest is one too many, by which fullness is known. */
  async #kept(subject: string) {
    const oldest = await this.#ask({ seq: 1, next_by_subj: subject })
    const { state } = await this.#options.manager.streams
      .info(this.stream, { subjects_filter: subject })
      .catch((error: unknown) => {
        throw unavailable(error)
      })
    const isFull = (state.subjects?.[subject] ?? 0) > this.history.size
    return { oldest: oldest?.seq, isFull, first: state.first_seq, last: state.last_seq }
  }
}

const idHeader = 'Nats-Msg-Id'
/** JetStream's error codes: a sequence or subject without a message, a stream that is not there. */
const noMessageFound = 10_037
export const streamNotFound = 10_059

const epochText = ({ created, rollbacks }: StreamEpoch) =>
  `${BigInt(Date.parse(created)).toString(36)}-${rollbacks.toString(36)}`

function publicationOf(stored: Stored): StoredPublication {
  return { ...decodeMessage(stored).message, offset: stored.seq }
}

/** Whatever the servers cannot do now. */
export const unavailable = (cause: unknown): Error =>
  cause instanceof EverwireError || cause instanceof TypeError
    ? cause
    : new EverwireError('temporary', `JetStream cannot be reached: ${(cause as Error).message}`, { cause })
