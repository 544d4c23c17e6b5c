import { randomBase32, type HistoryClass } from '@everwire/core'
import { jetstream, jetstreamManager, type JetStreamManager } from '@nats-io/jetstream'
import { Kvm, type KV, type KvEntry } from '@nats-io/kv'
import type { Connection } from './connection.js'
import type { NatsSettings } from './options.js'
import { classId, type StoredClass, type Subjects } from './subjects.js'

/** What a pattern's channels keep, as the first node said: the id of a class, or null for nothing. */
export interface PatternEntry {
  pattern: string
  class: string | null
}

type Log = (level: 'info' | 'warn', fields: Readonly<Record<string, unknown>>, message: string) => void

/** When several make the bucket at once, nats-server 2.9 answers one of them only: the others must ask again soon. */
const requestTimeoutMs = 1_000

/**
 * What all nodes must agree on, in one key-value bucket: history classes, what each pattern keeps, epochs, and the key
 * that signs what nodes say to each other. Whoever comes first writes; who comes later and wants otherwise is refused.
 */
export class Registry {
  readonly #kv: KV
  readonly #bucket: string
  readonly #manager: JetStreamManager
  readonly #settings: NatsSettings
  readonly #replicas: number
  readonly #clustered: boolean
  readonly #classes = new Map<string, Promise<StoredClass>>()

  private constructor(
    kv: KV,
    bucket: string,
    manager: JetStreamManager,
    settings: NatsSettings,
    replicas: number,
    clustered: boolean,
  ) {
    this.#bucket = bucket
    this.#clustered = clustered
    this.#kv = kv
    this.#manager = manager
    this.#settings = settings
    this.#replicas = replicas
  }

  static async open(connection: Connection, subjects: Subjects, settings: NatsSettings): Promise<Registry> {
    const replicas = settings.replicas ?? (connection.clustered ? 3 : 1)
    const kvm = new Kvm(jetstream(connection.nats, { timeout: requestTimeoutMs }))
    const { bucket } = subjects
    if (settings.manageStreams)
      await kvm.create(bucket, { history: 1, replicas, description: 'Everwire: what all nodes agree on' })
    // Opened like this, it asks the leader: a replica need not have yet what was agreed on a moment ago.
    const kv = await kvm.open(bucket, { bindOnly: true })
    if (!settings.manageStreams) await kv.status()
    const manager = await jetstreamManager(connection.nats, { checkAPI: false })
    return new Registry(kv, bucket, manager, settings, replicas, connection.clustered)
  }

  /** The key that signs messages between nodes: the one that is given, or one that the first node made. */
  async clusterKey(): Promise<string> {
    const { clusterKey } = this.#settings
    if (clusterKey !== undefined) return clusterKey
    const key = await this.#first('cluster-key', randomBase32(52))
    if (!keyPattern.test(key))
      throw new TypeError(
        'nats: what stands as cluster-key in the bucket is none: somebody else wrote it. Delete it, or set clusterKey for all nodes',
      )
    return key
  }

  /**
   * Takes down what a pattern keeps, unless that is known.
   * @param make what the class needs must be there before others are told to use it
   * @returns whether this changed what other nodes were started with
   * @throws TypeError when other nodes were started with another answer
   */
  async agree(
    pattern: string,
    history: HistoryClass | undefined,
    make: () => Promise<void>,
    log: Log,
  ): Promise<boolean> {
    const wanted: PatternEntry = { pattern, class: history ? classId(history, this.#settings.storage) : null }
    const key = `pattern.${hex(pattern)}`
    const known = JSON.parse(await this.#first(key, JSON.stringify(wanted))) as PatternEntry
    if (known.class === wanted.class) return false
    if (!this.#settings.adoptHistory)
      throw new TypeError(
        `channel ${pattern}: this node would keep ${inWords(wanted.class)}, the others were started with ` +
          `${inWords(known.class)}. Start all with the same history options, or one with nats({ adoptHistory: true }) ` +
          'to change them for all: what is stored stays in the old streams, and readers are told a gap (epoch).',
      )
    await make()
    await this.#kv.put(key, JSON.stringify(wanted))
    log(
      'warn',
      { pattern, from: known.class, to: wanted.class },
      'history options were changed for all nodes',
    )
    return true
  }

  /** What was agreed on for each pattern. */
  async patterns(): Promise<PatternEntry[]> {
    const prefix = `$KV.${this.#bucket}.`
    const { state } = await this.#manager.streams.info(`KV_${this.#bucket}`, {
      subjects_filter: `${prefix}pattern.*`,
    })
    const keys = Object.keys(state.subjects ?? {}).map((subject) => subject.slice(prefix.length))
    const entries = await Promise.all(keys.map((key) => this.#kv.get(key)))
    // Whoever deletes a key leaves a mark in its place.
    return entries.flatMap((entry) => (entry?.operation === 'PUT' ? [entry.json<PatternEntry>()] : []))
  }

  /** How the streams of a class are made; what the first node wrote holds. */
  class(history: HistoryClass, dedupWindowMs: number): Promise<StoredClass> {
    const { storage, partitions } = this.#settings
    const id = classId(history, storage)
    if (storage === 'memory' && this.#clustered && this.#replicas < 2)
      throw new TypeError(
        'nats: history in memory without replicas is lost with one server of the cluster: set replicas, or storage to file',
      )
    let known = this.#classes.get(id)
    if (!known) {
      const wanted: StoredClass = { ...history, partitions, replicas: this.#replicas, storage, dedupWindowMs }
      known = this.#first(`class.${id}`, JSON.stringify(wanted)).then(
        (text) => JSON.parse(text) as StoredClass,
      )
      known.catch(() => this.#classes.delete(id))
      this.#classes.set(id, known)
    }
    return known
  }

  /** A class by its id; undefined when no node has used it yet. */
  async classById(id: string): Promise<StoredClass | undefined> {
    const entry = await this.#kv.get(`class.${id}`)
    return entry?.json<StoredClass>()
  }

  /** How often a stream was seen to have gone back, by its name. */
  async rollbacks(stream: string): Promise<number> {
    const entry = await this.#kv.get(`rollbacks.${stream}`)
    return countOf(entry)
  }

  /** Counts one more, unless another node did so since `known` was read. @returns the count */
  async countRollback(stream: string, known: number): Promise<number> {
    const key = `rollbacks.${stream}`
    const entry = await this.#kv.get(key)
    const current = countOf(entry)
    if (current > known) return current
    try {
      if (entry) await this.#kv.update(key, String(current + 1), entry.revision)
      else await this.#kv.create(key, String(current + 1))
      return current + 1
    } catch (error) {
      // Another node was quicker; what it wrote counts for this rollback too.
      const now = await this.rollbacks(stream)
      if (now > known) return now
      throw error
    }
  }

  /** What stands under a key, or `value` when nothing did. */
  async #first(key: string, value: string): Promise<string> {
    const entry = await this.#kv.get(key)
    if (entry?.operation === 'PUT') return entry.string()
    try {
      await this.#kv.create(key, value)
      return value
    } catch (error) {
      const now = await this.#kv.get(key)
      if (now?.operation === 'PUT') return now.string()
      throw error
    }
  }
}

function countOf(entry: KvEntry | null): number {
  const count = Number(entry?.string())
  return Number.isSafeInteger(count) ? count : 0
}

/** What `clusterKey` makes. */
const keyPattern = /^[a-z2-7]{52}$/

const hex = (text: string) => Buffer.from(text).toString('hex')
const inWords = (id: string | null) => (id === null ? 'no history' : `history class ${id}`)
