export type { Announcement, Revision } from './announcement.js'
export {
  controlChannel,
  modeHeader,
  type Changes,
  type Control,
  type Mode,
  type PatchOperation,
} from './change.js'
export type { PollOptions, PollingBridgeOptions } from './server/options.js'
export { pollingBridge, type PollingBridge, type PollingBridgeState } from './server/plugin.js'
export { httpSource, type HttpSourceOptions, type Source, type SourceContext } from './server/sources.js'
export type { Signal, SignalContext } from './signal.js'
