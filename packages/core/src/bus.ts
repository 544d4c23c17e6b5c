import type { Payload } from './frame.js'

/** A publication as a publisher hands it in. */
export interface Message {
  readonly event: string
  /** JSON text, its UTF-8 bytes, or opaque bytes when `binary`. */
  readonly data?: Payload | undefined
  readonly binary?: boolean | undefined
  /** Who published, where the channel shows it. */
  readonly userId?: string | undefined
  /** Public id of the one session that must not get it. */
  readonly except?: string | undefined
}

/** A stored publication. Offsets of a channel rise; they are not consecutive. */
export interface StoredPublication extends Message {
  readonly offset: number
}

/** A live publication: the run of the node that published it, its number in that run, the run's last in this channel. */
export interface LivePublication extends Message {
  readonly run: string
  readonly number: number
  /** 0 when there is none, or it is not known any more. */
  readonly previous: number
  /** Published by a program that is no node, and numbered where it was heard: other nodes know it under another number. */
  readonly foreign?: boolean | undefined
}

/** A place in a channel with history. */
export interface Position {
  readonly epoch: string
  readonly offset: number
}

/** What a channel keeps; channels with equal classes may share storage. */
export interface HistoryClass {
  /** Most publications kept per channel. */
  readonly size: number
  /** How long each is kept, in milliseconds. */
  readonly ttlMs: number
}

export interface PublishOptions {
  /** Recognises a repeated publication within the dedup window; already scoped to user and channel. */
  readonly id?: string | undefined
}

/** Part of a channel's history, oldest first. */
export interface HistoryPage {
  readonly epoch: string
  readonly publications: readonly StoredPublication[]
  /** Nothing is missing between the offset that was asked for and the first publication. */
  readonly complete: boolean
  /** Offset of the newest stored publication or a later one: what is stored from now on comes after it. */
  readonly tail: number
}

/** What a bus gets to work with. */
export interface BusContext {
  /** Random name of this process; a restart changes it. */
  readonly nodeId: string
  /** Within this a repeated publication id is recognised, in milliseconds. */
  readonly dedupWindowMs: number
  /** What the operator must hear. */
  log(level: 'info' | 'warn' | 'error', fields: Readonly<Record<string, unknown>>, message: string): void
}

/** Hears what is stored in a channel: each publication once, in order, with nothing missing in between but what a gap tells. */
export interface StoredListener {
  /** Called once, before all else: what comes is what was stored after this position. */
  start(position: Position): void
  publication(publication: StoredPublication): void
  /** What followed the last publication may be lost, or belong to another epoch; it goes on after this position. */
  gap(reason: 'expired' | 'epoch', position: Position): void
}

/** Hears what is broadcast in a channel: in order per publisher run, which the numbers prove. */
export interface LiveListener {
  publication(publication: LivePublication): void
  /**
   * Publications may be lost that no number will show: the last ones, or the first that would have been heard of a run.
   * Told before what comes after them.
   * @param through up to here, and of no other run, when it is known: numbers that show no more need not be told again
   */
  gap(through?: Pick<LivePublication, 'run' | 'number'>): void
}

/** Part of a channel's history: after an offset, with nothing needed beyond `to`; or the newest before an offset. */
export type HistoryRange =
  | { readonly after: number; readonly limit: number; readonly to?: number | undefined }
  | { readonly before: number; readonly limit: number }

/** Answers what another node asks: with JSON. What it throws is silence, and the other asks again. */
export type NodeAnswer = (body: unknown, from: string) => unknown

/**
 * The other nodes on a bus, and what they ask each other: JSON, which only nodes can say and hear. A message may be
 * lost, and an answer may come after nobody waits for it any more; but nothing is heard twice.
 */
export interface Nodes {
  /** Ids of the others that live, as far as this one knows. */
  readonly others: readonly string[]
  /** False while this node is cut off from the others. */
  readonly connected: boolean
  /** Bytes of the largest message, as JSON. */
  readonly maxBytes: number
  /** Whether a node said good-bye, or was silent for so long that it counts as dead. A short silence is a suspicion. */
  isGone(node: string): boolean
  /** Milliseconds until a node that stays silent counts as dead. */
  verdictMs(node: string): number
  /** Answers requests of a kind, and hears what is told of it. One answer for each kind. */
  handle(kind: string, answer: NodeAnswer): void
  /**
   * Asks one node. Rejects with an EverwireError `temporary` when there is no answer in time, the node is gone, or this
   * one is cut off: it may have happened all the same.
   */
  request(node: string, kind: string, body: unknown, timeoutMs: number): Promise<unknown>
  /** Says something to one node, or to all; nobody answers, and while this node is cut off nobody hears it. */
  tell(kind: string, body: unknown, node?: string): void
  /**
   * Resolves once everything that any node broadcast before has come to this one. Rejects with an EverwireError
   * `temporary` when a node neither answers nor dies.
   */
  barrier(): Promise<unknown>
  /** Hears of each node once, when it is first heard of. */
  onNode(heard: (node: string) => void): void
  /** Hears, as long as the bus is open, that this node was cut off from the others, or is joined to them again. */
  onConnection(heard: (connected: boolean) => void): void
}

/**
 * What joins nodes: publications between them, and history. Everything but `open` may reject with an EverwireError:
 * `temporary` when it did not happen and may be tried again, `outcome-unknown` when it may have happened.
 */
export interface Bus {
  /** Shown to operators. */
  readonly name: string
  /** The other nodes; missing where there can be none. Its handlers are set before `open`. */
  readonly nodes?: Nodes | undefined
  /** Resolves once it can be used; rejects, saying what to do, when it cannot. Called once, before all else. */
  open(context: BusContext): Promise<void>
  /** Says what the channels of a pattern keep, before any is used. Rejects when other nodes say otherwise. */
  declare(pattern: string, history: HistoryClass | undefined): Promise<void>
  /** Resolves once the publication is stored; a repeat of an id resolves with what was stored first. */
  store(channel: string, history: HistoryClass, message: Message, options?: PublishOptions): Promise<Position>
  /** Resolves once the publication is on its way. */
  broadcast(channel: string, message: Message): Promise<void>
  /** Hears what is stored in a channel. Resolves, with the undo, once nothing that comes later can be missed. */
  follow(channel: string, history: HistoryClass, listener: StoredListener): Promise<() => void>
  /** Hears what is broadcast in a channel. Resolves, with the undo, once nothing that comes later can be missed. */
  listen(channel: string, listener: LiveListener): Promise<() => void>
  /** At most `limit` publications of the range, oldest first. */
  read(channel: string, history: HistoryClass, range: HistoryRange): Promise<HistoryPage>
  /** Safe to call twice, and before `open`. */
  close(): Promise<void>
}
