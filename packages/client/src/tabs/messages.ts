import {
  encodeFrame,
  headerFits,
  type EncodedFrame,
  type ErrorCode,
  type Frame,
  type Payload,
} from '@everwire/core'
import type { CarrierStats, ConnectionState, Explanation } from '../carrier.js'

/*
 * What tabs say to each other: plain data, broadcast to all tabs of a group. `term` tells the leaders apart, rising;
 * `seq` counts, so that nothing is missed in silence.
 */

/** What a follower shows of the leader's connection. */
export interface Status {
  state: ConnectionState
  transport: string | undefined
  stale: boolean
  userId: string | null | undefined
  explanation: Explanation
  stats: CarrierStats
}

export interface Limits {
  frameBytes: number
  dedupWindowMs: number
}

/** A frame on its way to the leader. */
export type UpFrame = [number: number, head: string, data: Payload | undefined, binary: boolean | undefined]
/** A frame on its way to those who have one of these sessions. */
export type DownFrame = [
  sessions: number[],
  header: Frame['header'],
  data: Payload | undefined,
  binary: boolean | undefined,
]

export type CallMethod = 'ping' | 'switchTo'

export type FollowerMessage =
  /** Wants a seat at the leader's. */
  | { kind: 'join'; from: string; term: number }
  | { kind: 'leave'; from: string; term: number }
  /** Are you there? */
  | { kind: 'ask'; from: string; term: number }
  | { kind: 'up'; from: string; term: number; session: number; seq: number; frames: UpFrame[] }
  | { kind: 'call'; from: string; term: number; id: number; method: CallMethod; argument: string }

export type LeaderBody =
  /** A leader begins. */
  | { kind: 'lead' }
  /** It is there; also at each change of its connection. */
  | { kind: 'here'; status: Status }
  /** A tab has a seat; with a session once there is one. */
  | { kind: 'seat'; to: string; status: Status; session: number; limits: Limits | undefined }
  /** The session is lost, for all. */
  | { kind: 'lost' }
  | { kind: 'down'; frames: DownFrame[] }
  | { kind: 'answer'; to: string; id: number; ms: number; code: ErrorCode | undefined; reason: string }
  /** A tab is not known here (any more), or something of it was missed: it must join again. */
  | { kind: 'rejoin'; to: string }
  /** The leader leaves; `regroup` when the group is no longer that of its user. */
  | { kind: 'gone'; regroup: boolean }

export type LeaderMessage = LeaderBody & { term: number; seq: number }
export type TabMessage = FollowerMessage | LeaderMessage

// Letters as in core's shapes: s string, n number, o object, a array, b boolean.
const followerShapes: Record<string, Record<string, string>> = {
  join: {},
  leave: {},
  ask: {},
  up: { session: 'n', seq: 'n', frames: 'a' },
  call: { id: 'n', method: 's', argument: 's' },
}
const leaderShapes: Record<string, Record<string, string>> = {
  lead: {},
  here: { status: 'o' },
  seat: { to: 's', status: 'o', session: 'n' },
  lost: {},
  down: { frames: 'a' },
  answer: { to: 's', id: 'n', ms: 'n', reason: 's' },
  rejoin: { to: 's' },
  gone: { regroup: 'b' },
}

const fits = (type: string, value: unknown) => {
  if (type === 'a') return Array.isArray(value)
  if (type === 'o') return typeof value === 'object' && value !== null
  if (type === 's') return typeof value === 'string'
  return type === 'n' ? typeof value === 'number' : typeof value === 'boolean'
}

const shapeOf = (shapes: Record<string, Record<string, string>>, kind: unknown) =>
  typeof kind === 'string' && Object.hasOwn(shapes, kind) ? shapes[kind] : undefined

/** What another tab said, or undefined when it is nothing of ours: the name of a channel is open to every script. */
export function readMessage(data: unknown): TabMessage | undefined {
  if (typeof data !== 'object' || data === null) return undefined
  const message = data as Record<string, unknown>
  const follower = shapeOf(followerShapes, message.kind)
  const shape = follower
    ? { ...follower, from: 's', term: 'n' }
    : { ...shapeOf(leaderShapes, message.kind), term: 'n', seq: 'n' }
  if (!follower && !shapeOf(leaderShapes, message.kind)) return undefined
  for (const [name, type] of Object.entries(shape)) if (!fits(type, message[name])) return undefined
  return message as unknown as TabMessage
}

export const isOfLeader = (message: TabMessage): message is LeaderMessage =>
  'seq' in message && message.kind !== 'up'

const isPayload = (data: unknown) =>
  data === undefined || typeof data === 'string' || data instanceof Uint8Array

/** What tabs may ask of a server. */
const upKinds = ['sub', 'unsub', 'pub', 'req']

/** A frame of a follower, with its number and header; undefined when it is none. */
export function readUpFrame(
  frame: unknown,
): { number: number; header: Frame['header']; frame: EncodedFrame } | undefined {
  if (!Array.isArray(frame)) return undefined
  const [number, head, data, binary] = frame as Partial<UpFrame>
  if (typeof number !== 'number' || typeof head !== 'string' || !isPayload(data)) return undefined
  try {
    const header = JSON.parse(head) as Frame['header']
    if (!Array.isArray(header) || !upKinds.includes(header[0] as string) || !headerFits(header))
      return undefined
    return { number, header, frame: encodeFrame(header, data, { binary }) }
  } catch {
    return undefined
  }
}

/** A frame of the leader, if it is for the owner of this session. */
export function readDownFrame(frame: unknown, session: number): Frame | undefined {
  if (!Array.isArray(frame)) return undefined
  const [sessions, header, data, binary] = frame as Partial<DownFrame>
  if (!Array.isArray(sessions) || !sessions.includes(session)) return undefined
  if (!Array.isArray(header) || !headerFits(header) || !isPayload(data)) return undefined
  return { header: header as unknown as Frame['header'], data, binary }
}
