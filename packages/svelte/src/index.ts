import type { Client } from '@everwire/client'
import * as stores from '@everwire/client/stores'
import type {
  ChannelSnapshot,
  ChannelStoreOptions,
  ConnectionSnapshot,
  LatestSnapshot,
  Store,
  StoreOptions,
} from '@everwire/client/stores'

export type {
  ChannelSnapshot,
  ChannelStatus,
  ConnectionSnapshot,
  LatestSnapshot,
  ListedPublication,
  Publication,
} from '@everwire/client/stores'

/** Svelte's store contract. */
export interface Readable<Value> {
  /** Calls `run` at once and with each change. Returns its own undo. */
  subscribe(run: (value: Value) => void): () => void
}

/** The state of the connection. It opens nothing: channels do, or `client.connect()`. */
export const connectionStore = (client: Client | undefined): Readable<ConnectionSnapshot> =>
  readable(stores.connectionStore(client))

/**
 * The newest publications of a channel, which is read as long as somebody subscribes to the store; all stores of a
 * channel share one subscription.
 * @throws EverwireError `invalid-channel`
 */
export const channelStore = <Data = unknown>(
  client: Client | undefined,
  name: string | null | undefined,
  options?: ChannelStoreOptions<Data>,
): Readable<ChannelSnapshot<Data>> => readable(stores.channelStore<Data>(client, name, options))

/** The last publication of one event in a channel; else as `channelStore`. */
export const latestStore = <Data = unknown>(
  client: Client | undefined,
  name: string | null | undefined,
  event: string,
  options?: StoreOptions<Data>,
): Readable<LatestSnapshot<Data>> => readable(stores.latestStore<Data>(client, name, event, options))

const readable = <Snapshot>(store: Store<Snapshot>): Readable<Snapshot> => ({
  subscribe(run) {
    const off = store.subscribe(() => run(store.getSnapshot()))
    run(store.getSnapshot())
    return off
  },
})
