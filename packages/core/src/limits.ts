/**
 * The defaults of every bound, wait and retry, in one place. Options of the same name change them.
 * The table in PROTOCOL.md is compared with this by a test.
 */
export const defaults = {
  /** Silence after which a ping is sent. Load balancers commonly cut at 60 s. */
  heartbeatMs: 25_000,
  /** Pings in a row that may stay unanswered before the last probe. */
  missedHeartbeats: 2,
  /** How long the last probe waits for any sign of life. */
  probeMs: 5_000,
  /** How long a long poll is held open. */
  pollWaitMs: 25_000,
  /** How long a session outlives its last link. */
  resumeWindowMs: 60_000,
  /** A link must say hello or attach, and a new session be attached, within this. */
  helloTimeoutMs: 5_000,
  /** A session that was opened but never attached ends after this. */
  unattachedMs: 10_000,
  /** First ceiling of the full-jitter backoff. */
  backoffMs: 500,
  /** Highest ceiling of the backoff. */
  maxBackoffMs: 20_000,
  /** A link must count within this, else the next transport is tried. */
  linkTimeoutMs: 2_000,
  /** The next transport is tried beside one that has not answered for so long. */
  staggerMs: 1_000,
  /** How often a better transport is tried, on average. */
  upgradeIntervalMs: 30_000,
  /** How long a client remembers which transport works. */
  memoryMs: 86_400_000,
  /** Frames kept for replay, per session. */
  outboxFrames: 1_000,
  /** Bytes kept for replay, per session. */
  outboxBytes: 1_048_576,
  /** Bytes kept for replay by all sessions of a node together; a frame that several keep counts once. */
  outboxBudgetBytes: 268_435_456,
  /** Publications kept per channel on a node. */
  ringSize: 100,
  /** Largest frame, header and payload together. */
  frameBytes: 65_536,
  /** Subscriptions per session. */
  subscriptions: 200,
  /** Operations of one session that may be unanswered. */
  operations: 1_000,
  /** Bytes of their payloads. */
  operationBytes: 4_194_304,
  /** Frames in one uplink request. */
  uplinkFrames: 100,
  /** Operations a client keeps while they wait or are unanswered. */
  queueSize: 1_000,
  /** Bytes of those operations. */
  queueBytes: 1_048_576,
  /** How long after expiry a token still serves the link that it opened. */
  tokenGraceMs: 25_000,
  /** Within this a repeated publication id is recognised. */
  dedupWindowMs: 120_000,
  /** How long a request waits for its reply, both directions. */
  requestTimeoutMs: 10_000,
  /** How long a publication may wait and be retried. */
  publishTimeoutMs: 30_000,
  /** Bytes waiting in a link's socket above which it counts as blocked. */
  highWaterBytes: 262_144,
  /** Event streams and held polls without a library, per node. */
  streams: 10_000,
  /** How long an event stream without a library lasts at most; its reader comes back. */
  streamMs: 60_000,
  /** Bytes that may wait in the socket of an event stream without a library before it is ended. */
  streamBytes: 262_144,
  /** Publications in one answer to a read without a library. */
  chunkSize: 200,
  /** Bytes of publications in one answer to a read without a library; one publication goes out in any case. */
  chunkBytes: 262_144,
  /** How long a ticket may wait to be used. */
  ticketMs: 10_000,
  /** How long the streams that a ticket opened may be resumed without authenticating again. */
  ticketStreamMs: 3_600_000,
  /** How long a node may take to hand its sessions over before it ends what is left. */
  drainMs: 30_000,
  /** How long a node that drains is not ready before its first session is handed over: load balancers look now and then. */
  drainNoticeMs: 2_000,
  /** A session moves to another node at most once in this, unless its node drains. */
  handoverIntervalMs: 2_000,
  /** Bytes of a session on its way to another node. */
  bundleBytes: 1_048_576,
  /** Polls, uplinks and handovers under way to one other node. */
  relays: 10_000,
  /** The same for one address, to whichever node. */
  relaysPerAddress: 2_500,
} as const
