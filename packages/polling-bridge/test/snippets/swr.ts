import useSWRSubscription from 'swr/subscription'
import { polling } from './polling.js'

export const useOrders = () =>
  useSWRSubscription('/api/orders', (url: string, { next }) => {
    const onData = (data: { n: number }) => next(null, data)
    return polling.poll({ url, intervalMs: 5000, onData, onError: next }).close
  })
