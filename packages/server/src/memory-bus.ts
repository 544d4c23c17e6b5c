import {
  defaults,
  EverwireError,
  randomBase32,
  systemClock,
  type Bus,
  type Clock,
  type HistoryClass,
  type LiveListener,
  type StoredListener,
  type StoredPublication,
} from '@everwire/core'

export interface MemoryBusOptions {
  /** Sequences that channels share, so that offsets of one channel skip as they do on NATS. @default 8 */
  partitions?: number
  /** Within this a repeated publication id is recognised. @default what the server says */
  dedupWindowMs?: number
  /** @default the system's */
  clock?: Clock
}

interface Log {
  items: { publication: StoredPublication; at: number }[]
  /** Offset of the newest publication that retention removed. */
  removed: number
  listeners: Set<StoredListener>
}

interface Partition {
  sequence: number
  logs: Map<string, Log>
  /** Ids within the dedup window, oldest first. */
  ids: Map<string, { offset: number; at: number }>
  /** What logs that were swept had lost, and the highest of those that were forgotten even here. */
  swept: Map<string, number>
  forgotten: number
}

interface LiveChannel {
  listeners: Set<LiveListener>
  previous: number
}

const sweepMs = 30_000
const maxSwept = 10_000

/**
 * The bus of one process, and the default. It numbers as JetStream does, one sequence for many channels, so that
 * nothing above can come to rely on consecutive offsets. History lives in memory and ends with the process.
 */
export function memoryBus({
  partitions: partitionCount = 8,
  dedupWindowMs,
  clock = systemClock,
}: MemoryBusOptions = {}): Bus {
  const epoch = randomBase32(10)
  const run = randomBase32(10)
  const live = new Map<string, LiveChannel>()
  const partitions: Partition[] = Array.from({ length: partitionCount }, () => ({
    sequence: 0,
    logs: new Map(),
    ids: new Map(),
    swept: new Map(),
    forgotten: 0,
  }))
  let liveNumber = 0
  let windowMs = dedupWindowMs ?? defaults.dedupWindowMs
  let closed = false

  const partitionOf = (channel: string) => partitions[hash(channel) % partitionCount]!

  const logOf = (partition: Partition, channel: string): Log => {
    let log = partition.logs.get(channel)
    if (!log) {
      log = { items: [], removed: removedOf(partition, channel), listeners: new Set() }
      partition.logs.set(channel, log)
    }
    return log
  }

  const retain = (log: Log, { size, ttlMs }: HistoryClass) => {
    const oldest = clock.now() - ttlMs
    let gone = Math.max(0, log.items.length - size)
    while (gone < log.items.length && log.items[gone]!.at <= oldest) gone++
    if (gone === 0) return
    log.removed = log.items[gone - 1]!.publication.offset
    log.items.splice(0, gone)
  }

  const assertOpen = () => {
    if (closed) throw new EverwireError('temporary', 'the bus is closed')
  }

  const sweep = () => {
    for (const partition of partitions) {
      const oldId = clock.now() - windowMs
      for (const [id, { at }] of partition.ids) {
        if (at > oldId) break
        partition.ids.delete(id)
      }
      for (const [channel, log] of partition.logs) {
        const history = classes.get(channel)
        if (history) retain(log, history)
        if (log.items.length > 0 || log.listeners.size > 0) continue
        partition.logs.delete(channel)
        classes.delete(channel)
        if (log.removed > 0) partition.swept.set(channel, log.removed)
      }
      for (const [channel, removed] of partition.swept) {
        if (partition.swept.size <= maxSwept) break
        partition.swept.delete(channel)
        partition.forgotten = Math.max(partition.forgotten, removed)
      }
    }
    cancelSweep = clock.after(sweepMs, sweep)
  }
  const classes = new Map<string, HistoryClass>()
  let cancelSweep = clock.after(sweepMs, sweep)

  return {
    name: 'memory',

    async open(context) {
      windowMs = dedupWindowMs ?? context.dedupWindowMs
    },
    async declare() {},

    async store(channel, history, message, { id } = {}) {
      assertOpen()
      const partition = partitionOf(channel)
      const known = id === undefined ? undefined : partition.ids.get(id)
      if (known && known.at > clock.now() - windowMs) return { epoch, offset: known.offset }
      const log = logOf(partition, channel)
      classes.set(channel, history)
      const publication = { ...message, offset: ++partition.sequence }
      log.items.push({ publication, at: clock.now() })
      if (id !== undefined) {
        partition.ids.delete(id)
        partition.ids.set(id, { offset: publication.offset, at: clock.now() })
      }
      retain(log, history)
      for (const listener of log.listeners) listener.publication(publication)
      return { epoch, offset: publication.offset }
    },

    async broadcast(channel, message) {
      assertOpen()
      const number = ++liveNumber
      const entry = live.get(channel)
      if (!entry) return
      const { previous } = entry
      entry.previous = number
      for (const listener of entry.listeners) listener.publication({ ...message, run, number, previous })
    },

    async follow(channel, _history, listener) {
      assertOpen()
      const partition = partitionOf(channel)
      const log = logOf(partition, channel)
      listener.start({ epoch, offset: tailOf(partition, log) })
      log.listeners.add(listener)
      return () => partition.logs.get(channel)?.listeners.delete(listener)
    },

    async listen(channel, listener) {
      assertOpen()
      const entry = live.get(channel) ?? { listeners: new Set(), previous: 0 }
      live.set(channel, entry)
      entry.listeners.add(listener)
      return () => {
        entry.listeners.delete(listener)
        if (entry.listeners.size === 0 && live.get(channel) === entry) live.delete(channel)
      }
    },

    async read(channel, history, range) {
      assertOpen()
      const partition = partitionOf(channel)
      const log = partition.logs.get(channel)
      if (log) retain(log, history)
      const items = log?.items ?? []
      const removed = log?.removed ?? removedOf(partition, channel)
      const inRange =
        'after' in range
          ? items.filter(({ publication }) => publication.offset > range.after).slice(0, range.limit)
          : items.filter(({ publication }) => publication.offset < range.before).slice(-range.limit)
      return {
        epoch,
        publications: inRange.map(({ publication }) => publication),
        complete: 'after' in range ? range.after >= removed : removed === 0,
        tail: tailOf(partition, log),
      }
    },

    async close() {
      closed = true
      cancelSweep()
    },
  }
}

const removedOf = (partition: Partition, channel: string) =>
  partition.swept.get(channel) ?? partition.forgotten

/** Offset of the newest publication, or where one would come after. */
const tailOf = (partition: Partition, log: Log | undefined) =>
  log?.items.at(-1)?.publication.offset ?? Math.max(log?.removed ?? 0, partition.sequence)

/** FNV-1a: spreads channels over partitions. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}
