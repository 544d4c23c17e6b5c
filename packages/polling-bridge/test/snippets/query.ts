import { pollQueries } from '@everwire/polling-bridge/client'
import { QueryClient, useQuery } from '@tanstack/react-query'
import { polling } from './polling.js'

export const queryClient = new QueryClient()
pollQueries(polling, queryClient)

const poll = { url: '/api/orders', intervalMs: 5000 }
export const useOrders = () =>
  useQuery({ queryKey: ['orders'], queryFn: () => polling.read<{ n: number }>(poll), meta: { poll } })
