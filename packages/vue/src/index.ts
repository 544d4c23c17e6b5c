import type { Client } from '@everwire/client'
import {
  channelStore,
  connectionStore,
  latestStore,
  type ChannelSnapshot,
  type ChannelStoreOptions,
  type ConnectionSnapshot,
  type LatestSnapshot,
  type Store,
  type StoreOptions,
} from '@everwire/client/stores'
import {
  getCurrentInstance,
  onMounted,
  onScopeDispose,
  shallowReadonly,
  shallowRef,
  type ShallowRef,
} from 'vue'

export type {
  ChannelSnapshot,
  ChannelStatus,
  ConnectionSnapshot,
  LatestSnapshot,
  ListedPublication,
  Publication,
} from '@everwire/client/stores'

/** The state of the connection. It opens nothing: channels do, or `client.connect()`. */
export const useConnection = (client: Client | undefined): Readonly<ShallowRef<ConnectionSnapshot>> =>
  useStore(connectionStore(client))

/**
 * The newest publications of a channel, which is read until the scope ends; all that read it share one subscription.
 * @throws EverwireError `invalid-channel`
 */
export const useChannel = <Data = unknown>(
  client: Client | undefined,
  name: string | null | undefined,
  options?: ChannelStoreOptions<Data>,
): Readonly<ShallowRef<ChannelSnapshot<Data>>> => useStore(channelStore<Data>(client, name, options))

/** The last publication of one event in a channel; else as `useChannel`. */
export const useLatest = <Data = unknown>(
  client: Client | undefined,
  name: string | null | undefined,
  event: string,
  options?: StoreOptions<Data>,
): Readonly<ShallowRef<LatestSnapshot<Data>>> => useStore(latestStore<Data>(client, name, event, options))

function useStore<Snapshot>(store: Store<Snapshot>): Readonly<ShallowRef<Snapshot>> {
  const state = shallowRef(store.getServerSnapshot())
  const change = () => {
    state.value = store.getSnapshot()
  }
  let off = () => {}
  const start = () => {
    off = store.subscribe(change)
    change()
  }
  // A component that a server renders is never mounted, so that nothing is opened there.
  if (getCurrentInstance()) onMounted(start)
  else start()
  onScopeDispose(() => off())
  return shallowReadonly(state)
}
