export {
  assertVersion,
  judgeAttach,
  neverAttached,
  protocolVersion,
  readAttach,
  type AttachRequest,
  type AttachState,
  type TransportOffer,
  type Welcome,
} from './attach.js'
export { backoff, type BackoffOptions } from './backoff.js'
export type {
  Bus,
  BusContext,
  HistoryClass,
  HistoryPage,
  HistoryRange,
  LiveListener,
  LivePublication,
  Message,
  NodeAnswer,
  Nodes,
  Position,
  PublishOptions,
  StoredListener,
  StoredPublication,
} from './bus.js'
export { fromBase64, fromUtf8, randomBase32, toBase64, utf8, utf8Length } from './bytes.js'
export { assertChannelName, channelNameFault, maxChannelBytes, ownChannel } from './channel-name.js'
export { systemClock, type Cancel, type Clock } from './clock.js'
export { decode, frameBytes, frameText, parseFrame, parseHeader, type ParseOptions } from './codec.js'
export {
  codeInfo,
  codeOf,
  codeOfClose,
  codes,
  EverwireError,
  gapReasons,
  isCode,
  type ErrorCode,
  type EverwireErrorOptions,
  type GapReason,
  type Recovery,
} from './errors.js'
export {
  comment,
  createEventStreamParser,
  encodeEvent,
  encodeEvents,
  eventStreamType,
  parseEvents,
  type EventStreamParser,
} from './event-stream.js'
export {
  encodeFrame,
  frameCount,
  headerFits,
  isForeignKind,
  isSessionKind,
  linkKinds,
  sessionKinds,
  type EncodedFrame,
  type Frame,
  type Payload,
} from './frame.js'
export { createHeartbeat, type Heartbeat, type HeartbeatOptions } from './heartbeat.js'
export {
  exchangeFrames,
  framesHeader,
  refusal,
  retryAfter,
  streamHeaders,
  type ExchangeOptions,
  type Fetch,
  type FetchResponse,
  type ResponseLike,
} from './http-frames.js'
export { createHttpLink, type ReadDown } from './http-link.js'
export { defaults } from './limits.js'
export type { Link, LinkHandler } from './link.js'
export { Outbox, OutboxBudget, type OutboxLimits } from './outbox.js'
export { decodeData, encodeData } from './payload.js'
export { createGreeting } from './probe.js'
export { createResponseLink, type ResponseLink, type ResponseLinkOptions } from './response-link.js'
export {
  Session,
  type LinkNumbers,
  type SessionHandler,
  type SessionOptions,
  type SessionState,
} from './session.js'
export type {
  ClientHandshake,
  ClientTransport,
  Probe,
  ServerHandshake,
  ServerTransport,
  ServerTransportContext,
} from './transport.js'
