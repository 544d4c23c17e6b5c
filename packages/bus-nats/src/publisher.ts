import { assertChannelName, encodeData, EverwireError, randomBase32, type Position } from '@everwire/core'
import { jetstream, JetStreamApiError, jetstreamManager } from '@nats-io/jetstream'
import { mostExact } from './agreement.js'
import { Connection } from './connection.js'
import { publisherRun } from './live.js'
import { LiveRun } from './live-run.js'
import { encodeMessage } from './message.js'
import { readNatsOptions, type NatsOptions } from './options.js'
import { streamNotFound } from './partition.js'
import { Partitions } from './partitions.js'
import { natsPermissions, permissionsText } from './permissions.js'
import { refusedSubject } from './probe.js'
import { Registry, type PatternEntry } from './registry.js'
import { Store } from './store.js'
import { createSubjects, type StoredClass } from './subjects.js'

/** Publishes from a program that serves nobody: a worker, a cron job, a migration. */
export interface Publisher {
  /**
   * Publishes to a channel that the nodes know. Resolves with the position once it is stored, or with undefined in a
   * live channel, once NATS has it. `data` is any JSON value, or a Uint8Array that stays opaque; `id` recognises a
   * repeat within the dedup window.
   * Rejects with an EverwireError: `unknown-channel`, `temporary`, `outcome-unknown`.
   */
  publish(
    channel: string,
    event: string,
    data?: unknown,
    options?: { id?: string },
  ): Promise<Position | undefined>
  /** The NATS subject of a channel, for programs in other languages: a plain publish there does the same. */
  subject(channel: string): Promise<string>
  /** Resolves once everything that was published is with NATS. */
  close(): Promise<void>
}

/**
 * Takes the options of `nats()`. What the channels keep is read from what the nodes agreed on: a node must have been
 * started once before.
 * @throws TypeError when an option is wrong; EverwireError `temporary` when NATS cannot be reached
 */
export async function createPublisher(options: NatsOptions = {}): Promise<Publisher> {
  // Streams belong to the nodes.
  const settings = { ...readNatsOptions(options), manageStreams: false }
  const subjects = createSubjects(settings.prefix)
  const identity = { name: 'everwire publisher', inbox: subjects.inbox('publisher') }
  const connection = await Connection.open(settings, identity, {
    log() {},
    reconnected() {},
    disconnected() {},
  })
  const registry = await Registry.open(connection, subjects, settings).catch(async (cause: unknown) => {
    await connection.close()
    throw notAgreed(cause, settings.prefix)
  })
  const partitions = new Partitions({
    connection,
    jetStream: jetstream(connection.nats),
    manager: await jetstreamManager(connection.nats, { checkAPI: false }),
    registry,
    subjects,
    manageStreams: false,
    clock: settings.clock,
    wentBack() {},
    log() {},
  })
  const store = new Store({ connection, settings, repeated() {} })
  const classes = new Map<string, StoredClass>()
  let patterns: readonly PatternEntry[] = []
  let readAt = -Infinity
  let reading: Promise<void> | undefined
  const run = new LiveRun(publisherRun + randomBase32(16))
  const underWay = new Set<Promise<unknown>>()

  /** What the nodes agreed on; they may have changed it a while ago. */
  const agreed = async (channel: string): Promise<PatternEntry | undefined> => {
    const { clock, checkPeriodMs } = settings
    const known = mostExact(patterns, channel)
    if (known && (!connection.connected || clock.now() - readAt < checkPeriodMs)) return known
    if (!connection.connected) throw connection.unavailable()
    // One reading for all: what was published first goes on first.
    reading ??= registry
      .patterns()
      .then(
        (read) => {
          patterns = read
          readAt = clock.now()
        },
        (cause: unknown) => unreadable(cause),
      )
      .finally(() => (reading = undefined))
    await reading
    return mostExact(patterns, channel)
  }
  /** Id of the channel's history class, or null for a live channel. */
  const classOf = async (channel: string): Promise<string | null> => {
    assertChannelName(channel)
    const entry = await agreed(channel)
    if (!entry) throw new EverwireError('unknown-channel', `no node has a rule for ${channel}`)
    return entry.class
  }
  const place = async (channel: string, id: string) => {
    const stored = classes.get(id) ?? (await registry.classById(id).catch(unreadable))
    if (!stored) throw new EverwireError('unknown-channel', `no node has made history class ${id}`)
    // It is fixed for as long as its streams live.
    classes.set(id, stored)
    return partitions.place(channel, stored)
  }

  const publish: Publisher['publish'] = async (channel, event, data, { id } = {}) => {
    const { data: payload, binary } = encodeData(data)
    const message = { event, data: payload, binary }
    const history = await classOf(channel)
    if (history !== null) {
      const { partition, subject } = await place(channel, history)
      // Like the nodes' own, it is recognised in its channel only.
      const scoped = id === undefined ? randomBase32(26) : `${channel}\n${id}`
      return await store.store(partition, subject, message, Buffer.from(scoped).toString('base64url'))
    }
    const numbers = run.next(channel)
    const { payload: bytes, headers } = encodeMessage(message, connection.maxPayload, numbers)
    connection.publish(subjects.liveIn(channel), bytes, headers)
    run.sent(channel, numbers)
    await connection.flush()
    return undefined
  }

  return {
    publish(...publication) {
      const publishing = publish(...publication)
      const done = publishing.then(
        () => void underWay.delete(done),
        () => void underWay.delete(done),
      )
      underWay.add(done)
      return publishing
    },
    async subject(channel) {
      const history = await classOf(channel)
      return history === null ? subjects.liveIn(channel) : (await place(channel, history)).subject
    },
    async close() {
      await Promise.all(underWay)
      await connection.close()
    },
  }
}

function unreadable(cause: unknown): never {
  throw new EverwireError(
    'temporary',
    `what the nodes agreed on cannot be read: ${(cause as Error).message}`,
    { cause },
  )
}

/** Why a publisher cannot begin. */
function notAgreed(cause: unknown, prefix: string): EverwireError {
  if (refusedSubject(cause) !== undefined) {
    const needed = permissionsText(natsPermissions({ prefix }).publisher)
    return new EverwireError('forbidden', `${(cause as Error).message}. A publisher needs\n${needed}\n`, {
      cause,
    })
  }
  const why =
    cause instanceof JetStreamApiError && cause.code === streamNotFound
      ? `no node has used the prefix ${prefix} on this NATS yet`
      : `JetStream cannot be used: ${(cause as Error).message}`
  return new EverwireError('temporary', why, { cause })
}
