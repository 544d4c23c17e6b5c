import {
  EverwireError,
  type Bus,
  type BusContext,
  type Cancel,
  type HistoryClass,
  type HistoryRange,
  type LiveListener,
  type Message,
  type PublishOptions,
  type StoredListener,
} from '@everwire/core'
import { jetstream, jetstreamManager, type JetStreamManager } from '@nats-io/jetstream'
import type { Msg } from '@nats-io/transport-node'
import { Connection } from './connection.js'
import { Follower } from './follower.js'
import { LiveChannels } from './live.js'
import { Mesh } from './mesh.js'
import { decodeMessage } from './message.js'
import { readNatsOptions, type NatsOptions, type NatsSettings } from './options.js'
import { Partitions } from './partitions.js'
import { probePermissions } from './probe.js'
import { Registry } from './registry.js'
import { Store } from './store.js'
import { createSubjects, type StoredClass, type Subjects } from './subjects.js'
import type { Partition } from './partition.js'

/**
 * The bus on NATS, for as many nodes as there are: live channels on core NATS, history on JetStream. Needs nats-server
 * 2.9.10 or newer, with JetStream.
 * @throws TypeError when an option is wrong, naming it
 */
export function nats(options: NatsOptions = {}): Bus {
  return new NatsBus(readNatsOptions(options))
}

/** What there is once the bus is open. */
interface Open {
  connection: Connection
  registry: Registry
  partitions: Partitions
  store: Store
  mesh: Mesh
  live: LiveChannels
}

const setupDelayMs = 250
/** Republications may still be under way when the connection is back. */
const secondCheckMs = 2_000

class NatsBus implements Bus {
  readonly name = 'nats'
  readonly #settings: NatsSettings
  readonly #subjects: Subjects
  #context: BusContext | undefined
  #open: Open | undefined
  #closed = false
  #cancelCheck: Cancel = () => {}
  #cancelSecond: Cancel = () => {}

  constructor(settings: NatsSettings) {
    this.#settings = settings
    this.#subjects = createSubjects(settings.prefix)
  }

  async open(context: BusContext): Promise<void> {
    const settings = this.#settings
    this.#context = context
    const connection = await Connection.open(settings, `everwire ${context.nodeId}`, {
      log: context.log,
      reconnected: () => this.#reconnected(),
    })
    try {
      await probePermissions(connection, this.#subjects, settings, context.nodeId)
      const { manager, registry, clusterKey } = await this.#setUp(connection)
      const mesh: Mesh = new Mesh({
        nodeId: context.nodeId,
        connection,
        subjects: this.#subjects,
        clusterKey,
        clock: settings.clock,
        beatMs: settings.beatMs,
        nodeTimeoutMs: settings.nodeTimeoutMs,
        missed: (node) => void live.missed(node),
        refused: (reason) => context.log('warn', {}, `refused ${reason}`),
      })
      const live = new LiveChannels({
        nodeId: context.nodeId,
        connection,
        mesh,
        subjects: this.#subjects,
        nodeTimeoutMs: settings.nodeTimeoutMs,
      })
      const partitions = new Partitions({
        connection,
        jetStream: jetstream(connection.nats),
        manager,
        registry,
        subjects: this.#subjects,
        manageStreams: settings.manageStreams,
        log: context.log,
      })
      const store = new Store({
        connection,
        settings,
        repeated: (partition, subject) => {
          partitions.hint(partition.stream, subject)
          mesh.tell('hint', { stream: partition.stream, subject })
        },
      })
      mesh.handle('hint', (body) => {
        const { stream, subject } = body as { stream: string; subject: string }
        partitions.hint(stream, subject)
      })
      this.#open = { connection, registry, partitions, store, mesh, live }
      await mesh.start()
    } catch (error) {
      await this.close()
      await connection.close()
      throw error
    }
    this.#planCheck()
  }

  async declare(pattern: string, history: HistoryClass | undefined): Promise<void> {
    const { registry, partitions } = this.#opened()
    await registry.agree(pattern, history, this.#context!.log)
    if (history) await partitions.prepare(await this.#class(history))
  }

  async store(channel: string, history: HistoryClass, message: Message, { id }: PublishOptions = {}) {
    const { store } = this.#opened()
    const { partition, subject } = await this.#place(channel, history)
    return await store.store(partition, subject, message, id)
  }

  async broadcast(channel: string, message: Message): Promise<void> {
    await this.#opened().live.broadcast(channel, message)
  }

  async follow(channel: string, history: HistoryClass, listener: StoredListener): Promise<() => void> {
    const { connection } = this.#opened()
    const { partition, subject } = await this.#place(channel, history)
    const follower = new Follower(partition, subject, connection, listener)
    await follower.start(() =>
      connection.subscribe(this.#subjects.out(channel), (message) => heard(follower, partition, message)),
    )
    return () => follower.stop()
  }

  async listen(channel: string, listener: LiveListener): Promise<() => void> {
    return await this.#opened().live.listen(channel, listener)
  }

  async read(channel: string, history: HistoryClass, range: HistoryRange) {
    const { partition, subject } = await this.#place(channel, history)
    const epoch = await partition.epoch()
    const page =
      'after' in range
        ? await partition.readAfter(subject, range)
        : { publications: await partition.readBefore(subject, range.before, range.limit), complete: false }
    const { tail, known } = await partition.tail(subject)
    return { ...page, epoch, tail: tail || known }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#cancelCheck()
    this.#cancelSecond()
    const open = this.#open
    if (!open || open.connection.closed) return
    open.mesh.stop()
    if (open.connection.connected) await open.connection.nats.flush().catch(() => {})
    await open.connection.close()
  }

  #class(history: HistoryClass): Promise<StoredClass> {
    return this.#opened().registry.class(history, this.#context!.dedupWindowMs)
  }

  async #place(channel: string, history: HistoryClass) {
    return this.#opened().partitions.place(channel, await this.#class(history))
  }

  #opened(): Open {
    if (!this.#open || this.#closed)
      throw new EverwireError('temporary', this.#closed ? 'the bus is closed' : 'the bus is not open yet')
    return this.#open
  }

  /** What needs JetStream, which a cluster that has just been started may not have yet. */
  async #setUp(connection: Connection) {
    const { clock, connectTimeoutMs, servers } = this.#settings
    const deadline = clock.now() + connectTimeoutMs
    for (;;) {
      try {
        const manager: JetStreamManager = await jetstreamManager(connection.nats)
        const registry = await Registry.open(connection, this.#subjects, this.#settings)
        return { manager, registry, clusterKey: await registry.clusterKey() }
      } catch (cause) {
        if (clock.now() >= deadline)
          throw new EverwireError(
            'temporary',
            `JetStream cannot be used at ${servers.join(', ')}: ${(cause as Error).message}. Is it enabled (nats-server -js), and may this user create streams (or manageStreams be false)?`,
            { cause },
          )
        await connection.sleep(setupDelayMs)
      }
    }
  }

  #planCheck(): void {
    if (this.#closed) return
    const { clock, checkPeriodMs } = this.#settings
    this.#cancelCheck = clock.after(checkPeriodMs, () => void this.#check().finally(() => this.#planCheck()))
  }

  async #check(): Promise<void> {
    const open = this.#open
    if (open?.connection.connected) await open.partitions.check()
  }

  #reconnected(): void {
    const open = this.#open
    if (!open || this.#closed) return
    open.mesh.reconnected()
    open.partitions.doubt()
    void this.#check()
    void open.live.reconnected()
    this.#cancelSecond()
    this.#cancelSecond = this.#settings.clock.after(secondCheckMs, () => void this.#check())
  }
}

/** A message that JetStream republished; whatever else is published there is not. */
function heard(follower: Follower, { stream }: Partition, message: Msg): void {
  const { headers } = message
  if (headers?.get('Nats-Stream') !== stream) return
  const offset = Number(headers.get('Nats-Sequence'))
  const previous = Number(headers.get('Nats-Last-Sequence'))
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(previous) || offset < 1) return
  follower.heard({ ...decodeMessage(message).message, offset }, previous)
}
