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
  /** 0 when there is none. */
  readonly previous: number
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
  /** Offset of the newest stored publication, or where one would come after. */
  readonly tail: number
}

/** What joins nodes: publications between them, and history. */
export interface Bus {
  readonly name: string
  /** Resolves once the publication is stored; a repeat of an id resolves with what was stored first. */
  store(channel: string, history: HistoryClass, message: Message, options?: PublishOptions): Promise<Position>
  /** Resolves once the publication is on its way. */
  broadcast(channel: string, message: Message): Promise<void>
  /** Hears what is stored in a channel. Resolves, with the undo, once nothing that comes later can be missed. */
  follow(
    channel: string,
    history: HistoryClass,
    listener: (publication: StoredPublication, epoch: string) => void,
  ): Promise<() => void>
  /** Hears what is broadcast in a channel. Resolves, with the undo, once nothing that comes later can be missed. */
  listen(channel: string, listener: (publication: LivePublication) => void): Promise<() => void>
  /** Reads after an offset, or the newest before one; at most `limit`. */
  read(
    channel: string,
    history: HistoryClass,
    range: { after: number; limit: number } | { before: number; limit: number },
  ): Promise<HistoryPage>
  close(): Promise<void>
}
