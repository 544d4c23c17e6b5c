import { latestStore, type LatestSnapshot, type StoreOptions } from '@everwire/client/stores'
import { useMemo } from 'react'
import { useClient } from './provider.js'
import { useStore } from './use-store.js'

/** The last publication of one event in a channel; else as `useChannel`. */
export function useLatest<Data = unknown>(
  name: string | null | undefined,
  event: string,
  options?: Pick<StoreOptions<Data>, 'initial' | 'lingerMs'>,
): LatestSnapshot<Data> {
  const client = useClient()
  // What it begins with is read once.
  return useStore(useMemo(() => latestStore<Data>(client, name, event, options), [client, name, event]))
}
