'use client'

export { EverwireProvider, useClient, type EverwireProviderProps } from './provider.js'
export { useChannel, type ChannelState, type UseChannelOptions } from './use-channel.js'
export { useConnection } from './use-connection.js'
export { useLatest } from './use-latest.js'
export type {
  ChannelSnapshot,
  ChannelStatus,
  ConnectionSnapshot,
  LatestSnapshot,
  ListedPublication,
  Publication,
} from '@everwire/client/stores'
