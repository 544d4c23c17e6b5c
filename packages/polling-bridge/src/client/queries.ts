import type { Off } from '@everwire/client'
import type { Polling, PollOptions } from './polling.js'

/** The part of TanStack Query that is used. */
export interface QueryClientLike {
  getQueryCache(): { subscribe(listener: (event: { query: QueryLike }) => void): Off }
  setQueryData(key: readonly unknown[], data: unknown): unknown
}

export interface QueryLike {
  readonly queryKey: readonly unknown[]
  readonly queryHash: string
  readonly meta?: Record<string, unknown> | undefined
  isActive(): boolean
}

/**
 * Polls, as `meta: { poll: { url, intervalMs } }` of a query says, while the query is used, and puts what comes into
 * it: instead of `refetchInterval`. Its `queryFn` reads by `polling.read`. Returns its own undo.
 */
export function pollQueries(polling: Polling, client: QueryClientLike): Off {
  const polls = new Map<string, Off>()
  const off = client.getQueryCache().subscribe(({ query }) => {
    const { queryHash, queryKey, meta } = query
    const options = meta?.poll as PollOptions<unknown> | undefined
    const isPolled = polls.has(queryHash)
    if (!options || query.isActive() === isPolled) return
    if (isPolled) {
      polls.get(queryHash)!()
      polls.delete(queryHash)
      return
    }
    // Known before it begins: what comes is told to the cache, which tells here.
    polls.set(queryHash, () => {})
    const poll = polling.poll({ ...options, onData: (data) => client.setQueryData(queryKey, data) })
    polls.set(queryHash, poll.close)
  })
  return () => {
    off()
    for (const close of polls.values()) close()
    polls.clear()
  }
}
