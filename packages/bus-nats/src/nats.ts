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
import { Agreement } from './agreement.js'
import { Connection } from './connection.js'
import { Follower } from './follower.js'
import { LiveChannels } from './live.js'
import { Mesh } from './mesh.js'
import { decodeMessage, headerOf } from './message.js'
import { BusNodes } from './nodes.js'
import { readNatsOptions, type NatsOptions, type NatsSettings } from './options.js'
import { Partitions } from './partitions.js'
import { forbidden, probeHistory, probePermissions, refusedSubject } from './probe.js'
import { Registry } from './registry.js'
import { Store } from './store.js'
import { streamUp } from './stream-up.js'
import { createSubjects, type Subjects } from './subjects.js'
import { unavailable, type Partition } from './partition.js'

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
  agreement: Agreement
  partitions: Partitions
  store: Store
  mesh: Mesh
  live: LiveChannels
}

/** A channel with history that somebody on this node hears. */
interface Following {
  readonly channel: string
  readonly history: HistoryClass
  readonly listener: StoredListener
  begun: Promise<void>
  stop(): void
}

const setupDelayMs = 250
const readAttempts = 3
/** What a server that does not answer may cost at the end. */
const lastFlushMs = 1_000
/** Of one request to JetStream: short enough for another one while a node starts, which Fastify gives 10 s. */
const apiTimeoutMs = 2_000
/** Republications may still be under way when the connection is back. */
const secondCheckMs = 2_000

class NatsBus implements Bus {
  readonly name = 'nats'
  readonly nodes = new BusNodes()
  readonly #settings: NatsSettings
  readonly #subjects: Subjects
  readonly #following = new Set<Following>()
  #context: BusContext | undefined
  #opening: Promise<void> | undefined
  #open: Open | undefined
  #closed = false
  #closing: Promise<void> | undefined
  #cancelCheck: Cancel = () => {}
  #cancelSecond: Cancel = () => {}

  constructor(settings: NatsSettings) {
    this.#settings = settings
    this.#subjects = createSubjects(settings.prefix)
  }

  async open(context: BusContext): Promise<void> {
    await (this.#opening = this.#begin(context))
  }

  async #begin(context: BusContext): Promise<void> {
    const settings = this.#settings
    this.#context = context
    const identity = { name: `everwire ${context.nodeId}`, inbox: this.#subjects.inbox('node') }
    const connection = await Connection.open(settings, identity, {
      log: context.log,
      reconnected: () => this.#reconnected(),
      disconnected: () => {
        this.#open?.mesh.disconnected()
        this.nodes.changed(false)
      },
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
        missed: (node) => {
          void live.missed(node)
          this.#refreshSoon()
        },
        lost: (node, everything) => live.lost(node, everything),
        met: (node) => this.nodes.met(node),
        hearing: (isHearing) => {
          this.nodes.changed(isHearing)
          // What was on its way may have been thrown away.
          if (isHearing) void live.reconnected()
        },
        refused: (reason) => context.log('warn', {}, `refused ${reason}`),
      })
      const live = new LiveChannels({
        nodeId: context.nodeId,
        connection,
        mesh,
        subjects: this.#subjects,
        beatMs: settings.beatMs,
      })
      const partitions = new Partitions({
        connection,
        jetStream: jetstream(connection.nats),
        manager,
        registry,
        subjects: this.#subjects,
        manageStreams: settings.manageStreams,
        clock: settings.clock,
        wentBack: (stream) => mesh.tell('went-back', stream),
        log: context.log,
      })
      mesh.handle('went-back', (stream) => {
        partitions.doubt(stream as string)
        void partitions.check()
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
      mesh.handle('adopted', async () => {
        await this.#refresh()
        return true
      })
      const agreement = new Agreement({
        registry,
        storage: settings.storage,
        dedupWindowMs: context.dedupWindowMs,
        log: context.log,
      })
      this.#open = { connection, agreement, partitions, store, mesh, live }
      this.nodes.join(mesh, connection, live)
      await mesh.start()
      if (this.#closed) throw connection.unavailable()
    } catch (error) {
      this.#open?.mesh.stop()
      this.nodes.leave()
      this.#open = undefined
      await connection.close()
      throw error
    }
    this.#planCheck()
  }

  async declare(pattern: string, history: HistoryClass | undefined): Promise<void> {
    const { connection } = this.#opened()
    const { clock, connectTimeoutMs } = this.#settings
    const deadline = clock.now() + connectTimeoutMs
    for (;;)
      try {
        return await this.#declare(pattern, history)
      } catch (error) {
        // A cluster that has just been started leaves some of what several nodes ask at once without an answer.
        const passing = error instanceof EverwireError && error.code === 'temporary'
        if (!passing || this.#closed || clock.now() >= deadline) throw error
        await connection.sleep(setupDelayMs)
      }
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
    const following: Following = { channel, history, listener, stop: () => {}, begun: Promise.resolve() }
    this.#following.add(following)
    following.begun = this.#start(following, listener)
    const stop = () => {
      this.#following.delete(following)
      following.stop()
    }
    try {
      await following.begun
    } catch (error) {
      stop()
      throw error
    }
    return stop
  }

  async listen(channel: string, listener: LiveListener): Promise<() => void> {
    return await this.#opened().live.listen(channel, listener)
  }

  async read(channel: string, history: HistoryClass, range: HistoryRange) {
    const { partition, subject } = await this.#place(channel, history)
    // Another node may know of more.
    if ('after' in range && range.after > partition.known) await partition.inspect()
    for (let attempt = 1; ; attempt++) {
      const epoch = await partition.epoch()
      const page = await this.#read(partition, subject, range).catch(async (error: unknown) => {
        // It may be missing, and is made anew then.
        await partition.look()
        if (attempt === readAttempts) throw error
      })
      // Nobody on this node need follow the stream: that it is still the same is looked at after the reading.
      if (page) await partition.look()
      if (page && partition.currentEpoch === epoch) return { ...page, epoch }
      if (attempt === readAttempts)
        throw new EverwireError('temporary', 'the stream changes while it is read')
    }
  }

  async #read(partition: Partition, subject: string, range: HistoryRange) {
    const page =
      'after' in range
        ? await partition.readAfter(subject, range)
        : { publications: await partition.readBefore(subject, range.before, range.limit), complete: false }
    const { publications, complete } = page
    return { publications, complete, tail: (await partition.tail(subject)).known }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#cancelCheck()
    this.#cancelSecond()
    if (this.#open) await (this.#closing ??= this.#end(this.#open))
  }

  async #end({ connection, mesh }: Open): Promise<void> {
    if (connection.closed) return
    mesh.stop()
    mesh.disconnected()
    this.nodes.leave()
    if (connection.connected)
      await Promise.race([connection.flush().catch(() => {}), connection.sleep(lastFlushMs)])
    await connection.close()
  }

  async #start(following: Following, listener: StoredListener): Promise<void> {
    const { connection } = this.#opened()
    const { channel, history } = following
    const { partition, subject } = await this.#place(channel, history)
    if (!this.#following.has(following)) return
    const follower = new Follower(partition, subject, connection, listener)
    following.stop()
    following.stop = () => follower.stop()
    await follower.start(() =>
      connection.subscribe(this.#subjects.out(channel), (message) => heard(follower, partition, message)),
    )
  }

  async #place(channel: string, history: HistoryClass) {
    const { agreement, partitions } = this.#opened()
    try {
      return partitions.place(channel, await agreement.class(channel, history))
    } catch (error) {
      throw unavailable(error)
    }
  }

  /** Resolves once every node that lives stores elsewhere from now on. */
  async #announce(mesh: Mesh): Promise<void> {
    const nodes = [...(await mesh.barrier()).keys()]
    const { nodeTimeoutMs } = this.#settings
    const answers = nodes.map((node) => mesh.request(node, 'adopted', null, nodeTimeoutMs))
    for (const [index, { status }] of (await Promise.allSettled(answers)).entries())
      if (status === 'rejected')
        this.#context!.log('error', { node: nodes[index] }, 'a node does not know of the new history options')
  }

  /** Another node may have changed what channels keep. */
  async #refresh(): Promise<void> {
    const { agreement, connection } = this.#opened()
    const isOther = await agreement.refresh()
    for (const following of this.#following)
      if (isOther(following.channel)) void this.#goOn(following, connection)
  }

  #refreshSoon(): void {
    if (!this.#open || this.#closed) return
    this.#refresh().catch((error: unknown) =>
      this.#context!.log('warn', { err: error }, 'what the nodes agreed on could not be read'),
    )
  }

  /** Goes on in the streams that hold the channel now. */
  async #goOn(following: Following, connection: Connection): Promise<void> {
    const { listener } = following
    await following.begun.catch(() => {})
    following.stop()
    while (this.#following.has(following) && !this.#closed)
      try {
        return await (following.begun = this.#start(following, {
          start: (position) => listener.gap('epoch', position),
          publication: (publication) => listener.publication(publication),
          gap: (reason, position) => listener.gap(reason, position),
        }))
      } catch {
        // The servers are out of reach.
        await connection.sleep(setupDelayMs)
      }
  }

  #opened(): Open {
    if (!this.#open || this.#closed)
      throw new EverwireError('temporary', this.#closed ? 'the bus is closed' : 'the bus is not open yet')
    return this.#open
  }

  async #declare(pattern: string, history: HistoryClass | undefined): Promise<void> {
    const { connection, partitions, agreement, mesh } = this.#opened()
    try {
      const changed = await agreement.declare(pattern, history, async (stored) => {
        await partitions.prepare(stored)
        await probeHistory(connection, this.#subjects, this.#settings, stored)
      })
      if (changed) await this.#announce(mesh)
    } catch (error) {
      const refused = refusedSubject(error)
      throw refused === undefined ? unavailable(error) : forbidden([refused], this.#settings, error)
    }
  }

  /** What needs JetStream, which a cluster that has just been started may not have yet. */
  async #setUp(connection: Connection) {
    const { clock, connectTimeoutMs, manageStreams, servers } = this.#settings
    const deadline = clock.now() + connectTimeoutMs
    for (;;) {
      try {
        const manager: JetStreamManager = await jetstreamManager(connection.nats, { timeout: apiTimeoutMs })
        const registry = await Registry.open(connection, this.#subjects, this.#settings)
        await streamUp(connection, clock, `$KV.${this.#subjects.bucket}.probe`, apiTimeoutMs)
        return { manager, registry, clusterKey: await registry.clusterKey() }
      } catch (cause) {
        const refused = refusedSubject(cause)
        if (refused !== undefined) throw forbidden([refused], this.#settings, cause)
        if (clock.now() >= deadline)
          throw new EverwireError(
            'temporary',
            `JetStream cannot be used at ${servers.join(', ')}: ${(cause as Error).message}. Is it enabled (nats-server -js)?${manageStreams ? '' : ' With manageStreams: false the streams and the bucket must be there.'}`,
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
    this.nodes.changed(true)
    this.#refreshSoon()
    this.#cancelSecond()
    this.#cancelSecond = this.#settings.clock.after(secondCheckMs, () => {
      open.partitions.doubt()
      void this.#check()
    })
  }
}

/** A message that JetStream republished; whatever else is published there is not. */
function heard(follower: Follower, { stream }: Partition, message: Msg): void {
  if (headerOf(message, 'Nats-Stream') !== stream) return
  const offset = Number(headerOf(message, 'Nats-Sequence'))
  const previous = Number(headerOf(message, 'Nats-Last-Sequence'))
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(previous) || offset < 1) return
  follower.heard({ ...decodeMessage(message).message, offset }, previous)
}
