import type { Store } from '@everwire/client/stores'
import { useSyncExternalStore } from 'react'

/** The state of a store, on a server and while hydrating what it begins with. */
export const useStore = <Snapshot>(store: Store<Snapshot>): Snapshot =>
  useSyncExternalStore(store.subscribe, store.getSnapshot, store.getServerSnapshot)
