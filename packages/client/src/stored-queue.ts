import { EverwireError, type Clock, type EncodedFrame } from '@everwire/core'
import { publicationFrames, type Operations } from './operations.js'

/** A publication that has no answer yet. */
export interface StoredPublication {
  id: string
  channel: string
  event: string
  /** JSON; missing for one without a payload. */
  payload?: string | undefined
  /** When it was published, in milliseconds since 1970. */
  queuedAt: number
  /** Rises with each publication of one page. */
  order: number
  /** When it was first sent, in milliseconds since 1970; missing while it was not. */
  firstSentAt?: number | undefined
  /** How long it may wait and be retried, from `queuedAt`. */
  timeoutMs: number
}

/** Where publications are kept. What it throws, or rejects with, is ignored: the publication goes on unkept. */
export interface QueueStore {
  /** Those of earlier pages; they are sent in the order of `queuedAt`, then `order`. */
  load(): Promise<readonly StoredPublication[]> | readonly StoredPublication[]
  /** Keeps one, or replaces that of the same id. */
  add(publication: StoredPublication): void | Promise<void>
  remove(id: string): void | Promise<void>
}

export interface StoredQueueOptions {
  /**
   * Hears of a publication of an earlier page that did not come to be, or about which nothing is known
   * (`outcome-unknown`): its time was over, a retry could have stored it twice, or the server refused it.
   */
  dropped?: (publication: StoredPublication, error: EverwireError) => void
  /** Milliseconds since 1970. @default Date.now */
  now?: () => number
}

/** What the queue tells; see `storedQueue`. */
export interface StoredQueue {
  /** @internal A publication was taken in. */
  keep(frame: EncodedFrame, timeoutMs: number): void
  /** @internal It is being sent. */
  sent(frame: EncodedFrame): void
  /** @internal Its publisher has heard how it ended. */
  forget(frame: EncodedFrame): void
  /** @internal Takes in those of earlier pages. */
  restore(start: Operations['start'], clock: Clock): void
}

/** What others wrote there, or an earlier version, is left alone. */
const isSound = (found: StoredPublication | null | undefined): found is StoredPublication =>
  [found?.id, found?.channel, found?.event, found?.payload ?? ''].every((text) => typeof text === 'string') &&
  [found?.queuedAt, found?.timeoutMs, found?.order].every(Number.isFinite)

const idOf = ({ head }: EncodedFrame) => (JSON.parse(head) as string[])[3]!

/**
 * Keeps publications in `store` until their publisher has heard how they ended, and sends what earlier pages have left
 * there, under the same ids and before what this page publishes, if the store answers at once. Binary payloads are not
 * kept. Two pages that share a store may both send what is there: channels with history recognise it, live ones do not.
 */
export function storedQueue(store: QueueStore, options: StoredQueueOptions = {}): StoredQueue {
  const { dropped = () => {}, now = Date.now } = options
  const kept = new Map<string, StoredPublication>()
  let order = 0
  const quietly = async (run: () => unknown) => {
    try {
      await run()
    } catch {
      // A store that is full, or forbidden, keeps nothing; publishing goes on.
    }
  }

  const add = (publication: StoredPublication) => {
    kept.set(publication.id, publication)
    void quietly(() => store.add(publication))
  }

  return {
    keep({ head, data, binary }, timeoutMs) {
      const [, channel, event, id] = JSON.parse(head) as [string, string, string, string]
      if (binary || kept.has(id)) return
      add({
        id,
        channel,
        event,
        payload: data as string | undefined,
        queuedAt: now(),
        order: order++,
        timeoutMs,
      })
    },
    sent(frame) {
      const publication = kept.get(idOf(frame))
      if (publication && publication.firstSentAt === undefined) add({ ...publication, firstSentAt: now() })
    },
    forget(frame) {
      const id = idOf(frame)
      if (kept.delete(id)) void quietly(() => store.remove(id))
    },
    restore(start, clock) {
      const again = (publication: StoredPublication) => {
        const { id, channel, event, payload, queuedAt, firstSentAt, timeoutMs } = publication
        if (kept.has(id)) return
        kept.set(id, publication)
        const frames = publicationFrames(channel, event, id, { data: payload })
        const give = (error: EverwireError) => {
          if (kept.delete(id)) void quietly(() => store.remove(id))
          void quietly(() => dropped(publication, error))
        }
        const at = now()
        const left = queuedAt + timeoutMs - at
        // A clock that was set back says nothing about how long ago it was.
        const isOver = left <= 0 || queuedAt > at || (firstSentAt !== undefined && firstSentAt > at)
        if (isOver)
          return give(new EverwireError(firstSentAt === undefined ? 'timeout' : 'outcome-unknown', 'too old'))
        const sentAt = firstSentAt === undefined ? undefined : clock.now() - (at - firstSentAt)
        start(frames.first, { timeoutMs: left, again: frames.again, firstSentAt: sentAt }, (error) => {
          if (error) give(error)
        })
      }
      const all = (publications: readonly StoredPublication[]) =>
        publications
          .filter(isSound)
          .sort((a, b) => a.queuedAt - b.queuedAt || a.order - b.order)
          .forEach(again)
      void quietly(() => {
        const loaded = store.load()
        return loaded instanceof Promise ? loaded.then(all) : all(loaded)
      })
    },
  }
}

export interface LocalStorageQueueOptions extends StoredQueueOptions {
  /** Begins the names of the items. One for each user: what one has left must not be sent as another. */
  key: string
  /** @default the page's localStorage; `sessionStorage` keeps pages apart */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem' | 'key' | 'length'>
}

/** The part of the browser's Storage that is used. */
interface Storage {
  readonly length: number
  key(index: number): string | null
  getItem(key: string): string | null
  setItem(key: string, value: string): void
  removeItem(key: string): void
}

/** Keeps publications in the browser's `localStorage`: an item for each, so that pages do not overwrite each other's. */
export function localStorageQueue({ key, storage, ...options }: LocalStorageQueueOptions): StoredQueue {
  // Where it is forbidden, asking for it throws: not before somebody publishes, and then nothing is kept.
  const items = () => storage ?? (globalThis as unknown as { localStorage: Storage }).localStorage
  const prefix = `${key}:`
  const store: QueueStore = {
    load() {
      const names = Array.from({ length: items().length }, (_, index) => items().key(index)!)
      return names.flatMap((name) => {
        try {
          return name.startsWith(prefix) ? (JSON.parse(items().getItem(name)!) as StoredPublication) : []
        } catch {
          return []
        }
      })
    },
    add: (publication) => items().setItem(prefix + publication.id, JSON.stringify(publication)),
    remove: (id) => items().removeItem(prefix + id),
  }
  return storedQueue(store, options)
}
