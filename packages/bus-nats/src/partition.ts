import { EverwireError, type HistoryPage, type Position, type StoredPublication } from '@everwire/core'
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  JetStreamApiError,
  RetentionPolicy,
  StorageType,
  type JetStreamClient,
  type JetStreamManager,
  type MsgRequest,
  type StreamInfo,
} from '@nats-io/jetstream'
import { nanos, type MsgHdrs } from '@nats-io/transport-node'
import type { Connection } from './connection.js'
import type { Follower } from './follower.js'
import { decodeMessage } from './message.js'
import type { Registry } from './registry.js'
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
  log(level: 'info' | 'warn' | 'error', fields: Readonly<Record<string, unknown>>, message: string): void
}

/** The newest message that this node knows to have been stored, to see later that it still is. */
interface Witness {
  sequence: number
  subject: string
  id: string | undefined
}

/** A message of the stream, however it was read. */
interface Stored {
  seq: number
  subject: string
  header?: MsgHdrs | undefined
  data: Uint8Array
}

/** Messages that are asked for one by one, before a consumer is worth its three round trips. */
const walkLength = 12
const followersAtOnce = 32
const confirmMs = 250
const consumerIdleMs = 5_000

/** One stream: a part of the channels of one history class. Knows its epoch, and what of it is proven. */
export class Partition {
  readonly stream: string
  readonly history: StoredClass
  readonly followers = new Set<Follower>()
  readonly #options: PartitionOptions
  readonly #captured: string
  #epoch: { created: string; rollbacks: number } | undefined
  #inspection: Promise<StreamInfo> | undefined
  #witness: Witness | undefined
  /** The witness must be looked at, and what other nodes found out. */
  #stale = false
  /** Highest sequence that is known to have been given. */
  #known = 0
  /** All of this partition's followers have everything up to here. */
  #checked = 0

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
    return epochText(this.#epoch!)
  }

  subject(channelTokens: string): string {
    return this.#captured + channelTokens
  }

  /** A message stands in the stream, as its leader says. What is republished proves nothing: anybody could make it up. */
  #saw(sequence: number, subject: string, id: string | undefined): void {
    if (sequence <= this.#known) return
    this.#known = sequence
    this.#witness = { sequence, subject, id }
  }

  /** Stores once, or throws what the driver throws; `id` recognises a repeat. */
  async publish(
    subject: string,
    payload: Uint8Array,
    options: { id: string; headers: MsgHdrs; timeoutMs: number },
  ): Promise<{ position: Position; duplicate: boolean }> {
    await this.epoch()
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
    // Numbers only rise: one that does not, means that the stream is another, or was put back.
    if (!duplicate && seq <= before) await this.inspect()
    this.#saw(seq, subject, id)
    return { position: { epoch: await this.epoch(), offset: seq }, duplicate: duplicate === true }
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

  /** Finds what was stored and never came. Asks for the channels only when anything was stored since the last time. */
  async check(): Promise<void> {
    const { state } = await this.inspect()
    if (state.last_seq <= this.#checked) return
    const followers = [...this.followers]
    const worker = async () => {
      for (let next = followers.pop(); next; next = followers.pop()) await next.check(state.last_seq)
    }
    await Promise.all(Array.from({ length: followersAtOnce }, worker))
    this.#checked = Math.max(this.#checked, state.last_seq)
  }

  /**
   * Sequence of the newest publication of a channel that is kept, by the leader; 0 when there is none.
   * @returns with it what was known of the stream before: nothing of the channel lies between the two
   */
  async tail(subject: string): Promise<{ tail: number; known: number }> {
    const known = this.#known
    const message = await this.#ask({ last_by_subj: subject })
    if (message) this.#saw(message.seq, subject, message.header?.get(idHeader) || undefined)
    return { tail: message?.seq ?? 0, known }
  }

  /**
   * Publications of a channel after an offset, oldest first. They are complete when it is proven that none between was
   * removed: what stands at `after` is still there; or nothing from `verified` on has left the stream, by age or by count.
   * @param verified everything of the channel up to here is known to the caller
   */
  async readAfter(
    subject: string,
    { after, limit, to = Number.MAX_SAFE_INTEGER }: { after: number; limit: number; to?: number | undefined },
    verified = after,
  ): Promise<Pick<HistoryPage, 'publications' | 'complete'>> {
    const messages = await this.#walk(subject, after + 1, limit, to)
    // Asked after the reading: what retention takes in the meantime would otherwise be jumped over.
    const complete = await this.#isWhole(subject, after, verified)
    return { publications: messages.map(publicationOf), complete }
  }

  /** The newest publications of a channel before an offset, oldest first. */
  async readBefore(subject: string, before: number, limit: number): Promise<StoredPublication[]> {
    const { state } = await this.inspect()
    const end = Math.min(before - 1, state.last_seq)
    let span = limit * 4
    for (;;) {
      const from = Math.max(end - span + 1, state.first_seq, 1)
      const messages = await this.#consume(subject, from, Number.MAX_SAFE_INTEGER, end)
      if (messages.length >= limit || from <= state.first_seq || from <= 1)
        return messages.slice(-limit).map(publicationOf)
      span *= 16
    }
  }

  async #inspect(): Promise<StreamInfo> {
    const { registry } = this.#options
    let info = await this.#info()
    const known = this.#epoch
    const gone = known && known.created === info.created && (await this.#wentBack(info))
    let rollbacks = known?.created === info.created ? known.rollbacks : await registry.rollbacks(this.stream)
    if (gone) {
      rollbacks = await registry.countRollback(this.stream, known.rollbacks)
      info = await this.#info()
    } else if (known) {
      // Another node may have noticed what this one could not.
      if (this.#stale) rollbacks = await registry.rollbacks(this.stream)
    }
    this.#stale = false
    const now = { created: info.created, rollbacks }
    const changed = known && epochText(known) !== epochText(now)
    this.#epoch = now
    if (changed) {
      this.#options.log(
        'warn',
        { stream: this.stream, from: epochText(known), to: epochText(now) },
        'a stream was made anew or put back to an earlier state: its readers are told a gap',
      )
      this.#known = info.state.last_seq
      this.#witness = undefined
      this.#checked = 0
      for (const follower of this.followers) follower.restart()
    } else this.#known = Math.max(this.#known, info.state.last_seq)
    return info
  }

  /** The servers were out of reach: who knows what they came back with. */
  doubt(): void {
    this.#stale = true
  }

  /** Whether the stream has lost what it had: compared with the newest message that was seen in it. */
  async #wentBack({ state }: StreamInfo): Promise<boolean> {
    const witness = this.#witness
    if (!witness) return false
    if (state.last_seq < witness.sequence) {
      // A leader that has just been chosen may be behind for a moment.
      await this.#options.connection.sleep(confirmMs)
      const again = await this.#info()
      return again.state.last_seq < witness.sequence
    }
    if (!this.#stale || witness.sequence < state.first_seq) return false
    const message = await this.#ask({ seq: witness.sequence })
    if (!message) return false
    return message.subject !== witness.subject || (message.header?.get(idHeader) || undefined) !== witness.id
  }

  async #info(): Promise<StreamInfo> {
    const { manager, manageStreams, history } = this.#options
    try {
      return await manager.streams.info(this.stream)
    } catch (error) {
      if (!(error instanceof JetStreamApiError && error.code === streamNotFound)) throw unavailable(error)
      if (!manageStreams)
        throw new EverwireError('temporary', `the stream ${this.stream} is missing, and manageStreams is off`)
      return await manager.streams.add(this.config(history)).catch((cause: unknown) => {
        throw unavailable(cause)
      })
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
      max_msgs_per_subject: size,
      // A stream cannot forget sooner than it recognises repeats: history of less than that is kept for longer.
      max_age: nanos(Math.max(ttlMs, dedupWindowMs)),
      duplicate_window: nanos(dedupWindowMs),
      allow_direct: true,
      republish: { src: `${this.#captured}>`, dest: `${subjects.prefix}.out.>` },
    }
  }

  /** Asks the leader: replicas lag. */
  async #ask(query: MsgRequest | { seq: number; next_by_subj: string }): Promise<Stored | null> {
    try {
      return await this.#options.manager.streams.getMessage(this.stream, query as MsgRequest)
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
      const query = { seq: next, next_by_subj: subject }
      const message = (await this.#askAny(query)) ?? (await this.#ask(query))
      if (!message) break
      messages.push(message)
      next = message.seq + 1
    }
    return messages
  }

  /** Asks any replica: what it has is right, what it has not may be late. */
  async #askAny(query: { seq: number; next_by_subj: string }): Promise<Stored | null> {
    try {
      return await this.#options.manager.direct.getMessage(this.stream, query)
    } catch {
      return null
    }
  }

  /** Messages of a subject from a sequence on, by a consumer that lives as long as the reading. */
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
      const messages: Stored[] = []
      try {
        const consumer = jetStream.consumers.getConsumerFromInfo(info)
        let left = Math.min(limit, info.num_pending)
        while (left > 0) {
          const batch = await consumer.fetch({ max_messages: Math.min(left, 500), expires: consumerIdleMs })
          let came = 0
          for await (const message of batch) {
            came++
            if (message.seq <= to)
              messages.push({
                seq: message.seq,
                subject: message.subject,
                header: message.headers,
                data: message.data,
              })
          }
          // Retention took the rest meanwhile.
          if (came === 0) break
          left -= came
          if ((messages.at(-1)?.seq ?? 0) >= to) break
        }
      } finally {
        // It would end by itself; the servers need not wait for that.
        void manager.consumers.delete(this.stream, info.name).catch(() => {})
      }
      return messages
    } catch (error) {
      throw unavailable(error)
    }
  }

  async #isWhole(subject: string, after: number, verified: number): Promise<boolean> {
    if (after > 0) {
      const there = await this.#ask({ seq: after })
      // Retention takes the oldest first: as long as this one is there, so is all that followed.
      if (there?.subject === subject) return true
    }
    const oldest = await this.#ask({ seq: 1, next_by_subj: subject })
    if (oldest && oldest.seq <= after) return true
    const { state } = await this.#options.manager.streams
      .info(this.stream, { subjects_filter: subject })
      .catch((error: unknown) => {
        throw unavailable(error)
      })
    if (state.first_seq > verified + 1) return false
    // Below the count, nothing has been removed for it.
    return (state.subjects?.[subject] ?? 0) < this.history.size
  }
}

const idHeader = 'Nats-Msg-Id'
/** JetStream's error codes: a sequence or subject without a message, a stream that is not there. */
const noMessageFound = 10_037
const streamNotFound = 10_059

const epochText = ({ created, rollbacks }: { created: string; rollbacks: number }) =>
  `${BigInt(Date.parse(created)).toString(36)}-${rollbacks.toString(36)}`

function publicationOf({ seq, data, header }: Stored): StoredPublication {
  return { ...decodeMessage({ data, headers: header }).message, offset: seq }
}

/** Whatever the servers cannot do now. */
export const unavailable = (cause: unknown): EverwireError =>
  cause instanceof EverwireError
    ? cause
    : new EverwireError('temporary', `the history cannot be reached: ${(cause as Error).message}`, { cause })
