export {
  createPolling,
  type Page,
  type Poll,
  type PollEvents,
  type Polling,
  type PollingOptions,
  type PollOptions,
  type ReadOptions,
} from './client/polling.js'
export type { Drift, PollState } from './client/poller.js'
export { pollQueries } from './client/queries.js'
