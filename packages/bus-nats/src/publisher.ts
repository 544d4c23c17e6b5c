import { assertChannelName, encodeData, EverwireError, randomBase32, type Position } from '@everwire/core'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Connection } from './connection.js'
import { encodeMessage } from './message.js'
import { readNatsOptions, type NatsOptions } from './options.js'
import { Partitions } from './partitions.js'
import { Registry, type PatternEntry } from './registry.js'
import { Store } from './store.js'
import { createSubjects } from './subjects.js'

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
  const connection = await Connection.open(settings, 'everwire publisher', { log() {}, reconnected() {} })
  const registry = await Registry.open(connection, subjects, settings).catch(async (cause: unknown) => {
    await connection.close()
    throw new EverwireError('temporary', `no node has used the prefix ${settings.prefix} on this NATS yet`, {
      cause,
    })
  })
  const partitions = new Partitions({
    connection,
    jetStream: jetstream(connection.nats),
    manager: await jetstreamManager(connection.nats, { checkAPI: false }),
    registry,
    subjects,
    manageStreams: false,
    log() {},
  })
  const store = new Store({ connection, settings, repeated() {} })
  let patterns: readonly PatternEntry[] = []

  /** Id of the channel's history class, or null for a live channel. */
  const classOf = async (channel: string): Promise<string | null> => {
    assertChannelName(channel)
    const known = mostExact(patterns, channel)
    if (known) return known.class
    patterns = await registry.patterns()
    const found = mostExact(patterns, channel)
    if (!found) throw new EverwireError('unknown-channel', `no node has a rule for ${channel}`)
    return found.class
  }
  const place = async (channel: string, id: string) => {
    const stored = await registry.classById(id)
    if (!stored) throw new EverwireError('unknown-channel', `no node has made history class ${id}`)
    return partitions.place(channel, stored)
  }

  return {
    async publish(channel, event, data, { id } = {}) {
      const { data: payload, binary } = encodeData(data)
      const message = { event, data: payload, binary }
      const history = await classOf(channel)
      if (history !== null) {
        const { partition, subject } = await place(channel, history)
        // Like the nodes' own, it is recognised in its channel only.
        const scoped = id === undefined ? randomBase32(26) : `${channel}\n${id}`
        return await store.store(partition, subject, message, Buffer.from(scoped).toString('base64url'))
      }
      if (!connection.connected) throw connection.unavailable()
      const { payload: bytes, headers } = encodeMessage(message)
      connection.nats.publish(subjects.liveIn(channel), bytes, { headers })
      await connection.flush()
      return undefined
    },
    async subject(channel) {
      const history = await classOf(channel)
      return history === null ? subjects.liveIn(channel) : (await place(channel, history)).subject
    },
    async close() {
      await connection.close()
    },
  }
}

/** The exact name, else the longest prefix before a final `*`: as the nodes choose. */
function mostExact(patterns: readonly PatternEntry[], channel: string): PatternEntry | undefined {
  const fits = ({ pattern }: PatternEntry) =>
    pattern === channel || (pattern.endsWith('*') && channel.startsWith(pattern.slice(0, -1)))
  const rank = ({ pattern }: PatternEntry) => (pattern === channel ? Infinity : pattern.length)
  return patterns.filter(fits).sort((a, b) => rank(b) - rank(a))[0]
}
