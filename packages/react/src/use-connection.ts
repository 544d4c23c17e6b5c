import { connectionStore, type ConnectionSnapshot } from '@everwire/client/stores'
import { useMemo } from 'react'
import { useClient } from './provider.js'
import { useStore } from './use-store.js'

/** The state of the connection. It opens nothing: channels do, or `client.connect()`. */
export function useConnection(): ConnectionSnapshot {
  const client = useClient()
  return useStore(useMemo(() => connectionStore(client), [client]))
}
