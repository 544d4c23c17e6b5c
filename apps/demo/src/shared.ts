// What the server and the page of the demo agree on. Browser-safe.

export const chatChannel = 'chat:lobby'
export const ledgerChannel = 'ledger:main'
/** Takes the same as the ledger's channel and keeps nothing, for scripts and tests that look at live channels. */
export const liveLedgerChannel = 'ledger:live'
/** A channel for one visit of the lab; its name is drawn anew for each. */
export const labChannel = (name: string): string => `lab:${name}`
/** Who publishes there: numbers and nothing else, so nobody need be told from others. */
export const labPublisher = 'lab'
export const tickerChannel = (symbol: string): string => `ticker:${symbol}`

export const symbols = [
  { symbol: 'AMP', name: 'Ampere Foods', price: 128.4 },
  { symbol: 'OHM', name: 'Ohm & Sons', price: 46.15 },
  { symbol: 'VLT', name: 'Voltage Rail', price: 311.9 },
  { symbol: 'WAT', name: 'Watt Waterworks', price: 87.25 },
] as const

/** A price, and the one that it started the day with. */
export interface Tick {
  price: number
  open: number
}

export const chatLimits = { name: 24, text: 400, id: 40 } as const

/** A line of the chat. */
export interface ChatMessage {
  /** Chosen by the page, which recognises its own line when it comes back. */
  id: string
  name: string
  text: string
  /** Milliseconds since 1970, by the clock of who sent it. */
  at: number
  /** From the server itself; the server refuses it from a client. */
  house?: true
}

/** A message of the ledger: who published it, and its number there, counted from 1 without a hole. */
export interface NumberedMessage {
  /** `server.` and its node; of a visitor, the public name that `server.info` tells, a dot, and the page's own. */
  publisher: string
  sequence: number
}

export const serverPublisher = 'server'
export const mostPublisherLength = 60

/** What the method `server.info` answers. */
export interface ServerInfo {
  bus: string
  node: string
  /** Public name of this visitor. */
  visitor: string
  /** Public id of this session. */
  session: string
  uptimeMs: number
  sessions: number
}

/**
 * `starting` · `ready`: gets its turn · `cut-off`: lives, and is cut off from the others · `draining`: hands its sessions
 * over · and three ends: `drained`, `killed`, `failed` by itself.
 */
export type NodeState = 'starting' | 'ready' | 'cut-off' | 'draining' | 'drained' | 'killed' | 'failed'

/** The node at one place. A new one at the same place has another id. */
export interface NodeStatus {
  /** From 1. */
  place: number
  /** Name on the bus; empty while it starts. */
  id: string
  state: NodeState
  /** Sessions that it has. */
  sessions: number
}

/** Since the demo started, by the metrics of the nodes. */
export interface NodeCounts {
  /** Sessions that went on at another node. */
  handedOver: number
  /** Requests that were sent on to the node that has their session. */
  relayed: number
  /** Times that a channel's reader got from its history what it had missed. */
  recovered: number
}

/** What `GET /nodes` answers. */
export interface NodesStatus {
  /** None where the demo is one process. */
  nodes: NodeStatus[]
  totals: NodeCounts
}

export const nodeActions = ['kill', 'drain', 'start'] as const
export type NodeAction = (typeof nodeActions)[number]
