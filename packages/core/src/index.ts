export {
  assertVersion,
  judgeAttach,
  neverAttached,
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
export { isChannelName, maxChannelBytes, ownChannel } from './channel-name.js'
export { assertChannelName, channelNameFault } from './channel-name-fault.js'
export { systemClock, type Cancel, type Clock } from './clock.js'
export { decode, frameBytes, frameText, readFrame } from './codec.js'
export { codeInfo, codes, type ErrorCode, type Recovery } from './codes.js'
export {
  defineContract,
  type,
  type ChannelName,
  type ChannelPattern,
  type Contract,
  type DataOf,
  type EventName,
  type EventsOf,
  type EventSchemas,
  type FittingName,
  type MethodInput,
  type MethodName,
  type MethodOutput,
  type MethodSchemas,
  type OptionalArgument,
  type PatternOf,
  type PublishDataOf,
  type SchemaInput,
  type SchemaIssue,
  type SchemaOutput,
  type SchemaResult,
  type StandardSchema,
} from './contract.js'
export {
  codeOf,
  codeOfClose,
  EverwireError,
  gapReasons,
  recoveryOf,
  type EverwireErrorOptions,
  type GapReason,
} from './errors.js'
export {
  comment,
  createEventStreamParser,
  encodeEvent,
  encodeEvents,
  eventStreamType,
  type EventStreamParser,
} from './event-stream.js'
export {
  encodeFrame,
  frameCount,
  isForeignKind,
  isSessionKind,
  linkKinds,
  sessionKinds,
  type EncodedFrame,
  type Frame,
  type Payload,
} from './frame.js'
export { headerFits, parseEvents, parseFrame, parseHeader, type ParseOptions } from './frame-check.js'
export { createHeartbeat, type Heartbeat, type HeartbeatOptions } from './heartbeat.js'
export {
  exchangeFrames,
  framesHeader,
  type ExchangeOptions,
  type Fetch,
  type FetchResponse,
} from './http-frames.js'
export { createHttpLink, type ReadDown } from './http-link.js'
export * as defaults from './limits.js'
export type { Link, LinkHandler } from './link.js'
export { createOutbox, type Outbox, type OutboxKeeper, type OutboxLimits } from './outbox.js'
export { OutboxBudget } from './outbox-budget.js'
export {
  createOwnerSession,
  type OwnerSession,
  type OwnerSessionOptions,
  type SessionState,
} from './owner-session.js'
export { decodeData, encodeData } from './payload.js'
export { createGreeting } from './probe.js'
export { refusal } from './refusal.js'
export { retryAfter, streamHeaders, type ResponseLike } from './response-head.js'
export {
  createResponseLink,
  endWithConnection,
  type ResponseEvents,
  type ResponseLink,
  type ResponseLinkOptions,
} from './response-link.js'
export {
  createSession,
  type LinkNumbers,
  type Session,
  type SessionEnd,
  type SessionNumbers,
  type SessionHandler,
  type SessionOptions,
} from './session.js'
export type {
  ClientHandshake,
  ClientTransport,
  Probe,
  ServerHandshake,
  ServerTransport,
  ServerTransportContext,
} from './transport.js'
export { protocolVersion } from './version.js'
