import { EverwireError, type Channel } from '@everwire/client'
import { channelStore, type ChannelSnapshot, type ChannelStoreOptions } from '@everwire/client/stores'
import { useCallback, useEffect, useMemo, useRef } from 'react'
import { useClient } from './provider.js'
import { useStore } from './use-store.js'

export type UseChannelOptions<Data = unknown> = Omit<ChannelStoreOptions<Data>, 'clock'>

export interface ChannelState<Data = unknown> extends ChannelSnapshot<Data> {
  /** Publishes to the channel, as `channel.publish`; the same function as long as client and name are. */
  readonly publish: Channel['publish']
}

/**
 * The newest publications of a channel, which is read as long as the component is mounted; components that read the
 * same channel share one subscription. No name pauses it. `initial` and `lingerMs` are read when it begins.
 * @throws EverwireError `invalid-channel`
 */
export function useChannel<Data = unknown>(
  name: string | null | undefined,
  options: UseChannelOptions<Data> = {},
): ChannelState<Data> {
  const client = useClient()
  const { events, limit, reduce } = options
  const newest = useRef(reduce)
  useEffect(() => {
    newest.current = reduce
  })
  // Functions and lists written inline are others in each render.
  const reduced = reduce !== undefined
  const store = useMemo(() => {
    const { reduce: given, ...rest } = options
    const latest: typeof given = given && ((...args) => (newest.current ?? given)(...args))
    return channelStore<Data>(client, name, { ...rest, ...(latest ? { reduce: latest } : {}) })
  }, [client, name, limit, reduced, events?.join('\n')])
  const publish = useCallback<Channel['publish']>(
    async (...args) => {
      if (!client || name == null) throw new EverwireError('closed', 'useChannel: no client or no name yet')
      return await client.channel(name).publish(...args)
    },
    [client, name],
  )
  const snapshot = useStore(store)
  return useMemo(() => ({ ...snapshot, publish }), [snapshot, publish])
}
