/*
 * The defaults of every bound, wait and retry, in one place. Options of the same name change them.
 * The table in PROTOCOL.md is compared with this by a test. Constants, not an object: a browser loads what it uses.
 */

/** Silence after which a ping is sent. Load balancers commonly cut at 60 s. */
export const heartbeatMs = 25_000
/** Pings in a row that may stay unanswered before the last probe. */
export const missedHeartbeats = 2
/** How long the last probe waits for any sign of life. */
export const probeMs = 5_000
/** How long a long poll is held open. */
export const pollWaitMs = 25_000
/** How long a session outlives its last link. */
export const resumeWindowMs = 60_000
/** A link must say hello or attach, and a new session be attached, within this. */
export const helloTimeoutMs = 5_000
/** A session that was opened but never attached ends after this. */
export const unattachedMs = 10_000
/** First ceiling of the full-jitter backoff. */
export const backoffMs = 500
/** Highest ceiling of the backoff. */
export const maxBackoffMs = 20_000
/** A link must count within this, else the next transport is tried. */
export const linkTimeoutMs = 2_000
/** The next transport is tried beside one that has not answered for so long. */
export const staggerMs = 1_000
/** How often a better transport is tried, on average. */
export const upgradeIntervalMs = 30_000
/** How long a client remembers which transport works. */
export const memoryMs = 86_400_000
/** Frames kept for replay, per session. */
export const outboxFrames = 1_000
/** Bytes kept for replay, per session. */
export const outboxBytes = 1_048_576
/** Bytes kept for replay by all sessions of a node together; a frame that several keep counts once. */
export const outboxBudgetBytes = 268_435_456
/** Publications kept per channel on a node. */
export const ringSize = 100
/** Largest frame, header and payload together. */
export const frameBytes = 65_536
/** Subscriptions per session. */
export const subscriptions = 200
/** Operations of one session that may be unanswered. */
export const operations = 1_000
/** Bytes of their payloads. */
export const operationBytes = 4_194_304
/** Frames in one uplink request. */
export const uplinkFrames = 100
/** Operations a client keeps while they wait or are unanswered. */
export const queueSize = 1_000
/** Bytes of those operations. */
export const queueBytes = 1_048_576
/** How long after expiry a token still serves the link that it opened. */
export const tokenGraceMs = 25_000
/** Within this a repeated publication id is recognised. */
export const dedupWindowMs = 120_000
/** How long a request waits for its reply, both directions. */
export const requestTimeoutMs = 10_000
/** How long a publication may wait and be retried. */
export const publishTimeoutMs = 30_000
/** Bytes waiting in a link's socket above which it counts as blocked. */
export const highWaterBytes = 262_144
/** Event streams and held polls without a library, per node. */
export const streams = 10_000
/** How long an event stream without a library lasts at most; its reader comes back. */
export const streamMs = 60_000
/** Bytes that may wait in the socket of an event stream without a library before it is ended. */
export const streamBytes = 262_144
/** Publications in one answer to a read without a library. */
export const chunkSize = 200
/** Bytes of publications in one answer to a read without a library; one publication goes out in any case. */
export const chunkBytes = 262_144
/** How long a ticket may wait to be used. */
export const ticketMs = 10_000
/** How long the streams that a ticket opened may be resumed without authenticating again. */
export const ticketStreamMs = 3_600_000
/** How long a node may take to hand its sessions over before it ends what is left. */
export const drainMs = 30_000
/** How long a node that drains is not ready before its first session is handed over: load balancers look now and then. */
export const drainNoticeMs = 2_000
/** A session moves to another node at most once in this, unless its node drains. */
export const handoverIntervalMs = 2_000
/** Bytes of a session on its way to another node. */
export const bundleBytes = 1_048_576
/** Polls, uplinks and handovers under way to one other node. */
export const relays = 10_000
/** The same for one address, to whichever node. */
export const relaysPerAddress = 2_500
