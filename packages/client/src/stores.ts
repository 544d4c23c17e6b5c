import type { EverwireError } from '@everwire/core'
import type { ConnectionState } from './carrier.js'
import type { Gap, PublicationMeta } from './channel.js'
import { channelUse, isAfter, type ChannelStatus } from './channel-use.js'
import type { Client } from './client.js'
import { differs, steady, whileHeard, type LingerOptions, type Store } from './store.js'

export type { ChannelStatus } from './channel-use.js'
export type { LingerOptions, Store } from './store.js'

export interface ConnectionSnapshot {
  readonly state: ConnectionState
  /** Name of the transport at hand. */
  readonly transport: string | undefined
  /** What others publish may come late. */
  readonly stale: boolean
  /** Who the server says this is; undefined before the first welcome. */
  readonly userId: string | null | undefined
  /** Why it is not connected. */
  readonly error: EverwireError | undefined
}

export interface Publication<Data = unknown> {
  readonly data: Data
  readonly meta: PublicationMeta
}

/** A publication in a list; `key` is unique in its store, and stays. */
export interface ListedPublication<Data = unknown> extends Publication<Data> {
  readonly key: number
}

interface ReadingSnapshot {
  readonly status: ChannelStatus
  /** Why `failed`. */
  readonly error: EverwireError | undefined
  /** The last loss. */
  readonly gap: Gap | undefined
  /** How many there were. */
  readonly gaps: number
}

export interface ChannelSnapshot<Data = unknown> extends ReadingSnapshot {
  /** Oldest first. */
  readonly publications: readonly ListedPublication<Data>[]
}

export interface LatestSnapshot<Data = unknown> extends ReadingSnapshot {
  /** Undefined before the first one. */
  readonly data: Data | undefined
  readonly meta: PublicationMeta | undefined
}

export interface StoreOptions<Data = unknown> extends LingerOptions {
  /**
   * What is shown before anything came, oldest first, as from `history()`. Who is the first to read the channel reads it
   * from the position of the last one of these; where it is read already, and is further, a gap (`limit`) says so.
   */
  initial?: readonly Publication<Data>[]
}

export interface ChannelStoreOptions<Data = unknown> extends StoreOptions<Data> {
  /** Only these. @default all */
  events?: readonly string[]
  /** Publications kept, the newest. @default 100 */
  limit?: number
  /** Makes the new list, for events that replace or remove others. @default appends */
  reduce?: (
    publications: readonly ListedPublication<Data>[],
    next: ListedPublication<Data>,
  ) => readonly ListedPublication<Data>[]
}

const idle: ConnectionSnapshot = {
  state: 'idle',
  transport: undefined,
  stale: false,
  userId: undefined,
  error: undefined,
}

/** The connection of a client. Listening opens nothing. Without a client it stays idle. */
export function connectionStore(client: Client | undefined): Store<ConnectionSnapshot> {
  let snapshot = idle
  let error: EverwireError | undefined
  return {
    getSnapshot() {
      if (!client) return idle
      const { state, transport, stale, userId } = client
      const next = { state, transport, stale, userId, error: state === 'connected' ? undefined : error }
      if (differs(snapshot, next)) snapshot = next
      return snapshot
    },
    getServerSnapshot: () => idle,
    subscribe(onChange) {
      const undo = [
        client?.on('state', (change) => {
          if (change.error || change.state === 'connected') error = change.error
          onChange()
        }),
        client?.on('stale', onChange),
      ]
      return () => {
        for (const off of undo) off?.()
      }
    },
  }
}

/**
 * The newest publications of a channel, which is read as long as somebody listens. All stores of a channel share one
 * subscription. Without a client or a name it stays idle.
 * @throws EverwireError `invalid-channel`
 * @throws TypeError when `limit` is not a positive whole number
 */
export function channelStore<Data = unknown>(
  client: Client | undefined,
  name: string | null | undefined,
  options: ChannelStoreOptions<Data> = {},
): Store<ChannelSnapshot<Data>> {
  const {
    events,
    limit = 100,
    initial = [],
    reduce = (publications, next) => [...publications, next],
  } = options
  if (!Number.isInteger(limit) || limit < 1)
    throw new TypeError(`channelStore: limit must be a positive whole number: ${limit}`)
  const bounded = (all: ChannelSnapshot<Data>['publications']) =>
    all.length > limit ? all.slice(-limit) : all
  const first: ChannelSnapshot<Data> = {
    publications: bounded(initial.map(({ data, meta }, key) => ({ key, data, meta }))),
    status: 'idle',
    error: undefined,
    gap: undefined,
    gaps: 0,
  }
  if (!client || name == null) return steady(first)
  const use = channelUse(client, name)
  const position = initial.at(-1)?.meta.position
  let key = initial.length
  return whileHeard(client, options, first, (get, set) => {
    const tell = (gap: Gap) => set({ gap, gaps: get().gaps + 1 })
    const follow = () => set({ status: use.status, error: use.error })
    const isMissed = position !== undefined && !use.reaches(position)
    const undo = [
      use.channel.on('*', (data, meta) => {
        if (events && !events.includes(meta.event)) return
        if (position && meta.position && isAfter(position, meta.position)) return
        set({ publications: bounded(reduce(get().publications, { key: key++, data: data as Data, meta })) })
      }),
      use.channel.on('gap', tell),
      use.join(position, follow),
    ]
    follow()
    if (isMissed) tell({ reason: 'limit' })
    return () => {
      for (const off of undo) off()
    }
  })
}

/** The last publication of one event in a channel; else as `channelStore`. */
export function latestStore<Data = unknown>(
  client: Client | undefined,
  name: string | null | undefined,
  event: string,
  options: StoreOptions<Data> = {},
): Store<LatestSnapshot<Data>> {
  const store = channelStore<Data>(client, name, { ...options, events: [event], limit: 1 })
  const made = new WeakMap<ChannelSnapshot<Data>, LatestSnapshot<Data>>()
  const latest = (from: ChannelSnapshot<Data>) => {
    let snapshot = made.get(from)
    if (!snapshot) {
      const { publications, ...reading } = from
      snapshot = { ...reading, data: publications[0]?.data, meta: publications[0]?.meta }
      made.set(from, snapshot)
    }
    return snapshot
  }
  return {
    getSnapshot: () => latest(store.getSnapshot()),
    getServerSnapshot: () => latest(store.getServerSnapshot()),
    subscribe: store.subscribe,
  }
}
