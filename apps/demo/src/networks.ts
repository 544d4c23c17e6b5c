import type { PathFaults } from './path-faults.js'

// Bad networks, what must win on each, and how soon. Read by the lab's page and by `npm run verify:network`. Browser-safe.

export const transportNames = ['websocket', 'sse', 'long-polling'] as const
export type TransportName = (typeof transportNames)[number]

/** What holds on a network, whoever makes it. */
export interface Expectations {
  /** What it does, in words. */
  does: string
  /** What must carry the session in the end. */
  expected: TransportName
  /** Most milliseconds from connect() to the first message, at the first visit and at the second. */
  limitsMs: readonly [first: number, second: number]
  /** Most links that may be lost in a visit. @default 0 */
  mostFalls?: number
  /** Most times that the session may move to another transport in a visit. @default 1 */
  mostSwitches?: number
}

/** A network of the lab's page: the demo's own path plays it. */
export interface Network extends Expectations {
  /** In a few plain words. */
  title: string
  /** What the path does to the visitor from before the first visit until after the second. */
  faults: Partial<PathFaults>
  /** `outage`: it is cut for 2 s in each visit · `silence`: nobody says anything for a time. @default only traffic */
  play?: 'outage' | 'silence'
}

/** Promises of the product, from connect() to the first message. */
export const worksMs = 1_000
export const blockedMs = 2_000
export const twoSilentMs = 4_500

const known = {
  open: {
    title: 'Open',
    does: 'nothing stands in the way',
    faults: {},
    expected: 'websocket',
    limitsMs: [worksMs, worksMs],
  },
  'blocked-websocket': {
    title: 'WebSocket blocked',
    does: 'upgrades are refused with 403',
    faults: { websocket: 'blocked' },
    expected: 'sse',
    limitsMs: [blockedMs, worksMs],
  },
  'silent-websocket': {
    title: 'WebSocket silent',
    does: 'WebSockets open, and nothing passes',
    faults: { websocket: 'silent' },
    expected: 'sse',
    limitsMs: [blockedMs, worksMs],
  },
  'kills-websocket': {
    title: 'WebSocket killed',
    does: 'WebSockets are killed 200 ms after they open',
    faults: { websocket: 'killed' },
    expected: 'sse',
    limitsMs: [blockedMs, worksMs],
    mostFalls: 2,
    mostSwitches: 2,
  },
  'holds-streams': {
    title: 'Event streams held back',
    does: 'no WebSocket, and event streams are held back until they end',
    faults: { websocket: 'blocked', sse: 'held' },
    expected: 'long-polling',
    limitsMs: [blockedMs, worksMs],
  },
  'holds-get': {
    title: 'Only POST streams pass',
    does: 'no WebSocket, and event streams are held back where they are asked for by GET',
    faults: { websocket: 'blocked', sse: 'held-get' },
    expected: 'sse',
    limitsMs: [blockedMs, worksMs],
  },
  'idle-5s': {
    title: 'Idle links cut',
    does: 'what is silent for 5 s is cut, and nobody says anything for a while',
    faults: { cable: 'idle' },
    expected: 'websocket',
    limitsMs: [worksMs, worksMs],
    mostFalls: 3,
    play: 'silence',
  },
  'gone-2s': {
    title: 'Gone for two seconds',
    does: 'every connection breaks, and new ones too, for 2 s in the middle of the traffic',
    faults: {},
    expected: 'websocket',
    limitsMs: [worksMs, worksMs],
    mostFalls: 1,
    play: 'outage',
  },
  slow: {
    title: 'Everything slow',
    does: 'every piece takes 150 ms longer, both ways',
    faults: { cable: 'slow' },
    expected: 'websocket',
    limitsMs: [blockedMs, blockedMs],
  },
} as const satisfies Record<string, Network>

export type NetworkName = keyof typeof known

/** In the order in which the lab shows them. */
export const networks: Readonly<Record<NetworkName, Network>> = known

/** What both ask of it. */
export function expectationsOf(name: NetworkName): Expectations & { name: NetworkName } {
  const { does, expected, limitsMs, mostFalls, mostSwitches } = networks[name]
  return {
    name,
    does,
    expected,
    limitsMs,
    ...(mostFalls === undefined ? {} : { mostFalls }),
    ...(mostSwitches === undefined ? {} : { mostSwitches }),
  }
}
