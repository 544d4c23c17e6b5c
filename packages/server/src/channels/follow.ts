import {
  decode,
  decodeData,
  encodeFrame,
  randomBase32,
  type EncodedFrame,
  type Frame,
  type GapReason,
  type Message,
  type Position,
} from '@everwire/core'
import type { Reader } from './entry.js'
import type { Hub } from './hub.js'

/** A publication as the server itself reads it. */
export interface FollowedPublication {
  event: string
  /** Parsed JSON, or the bytes of a binary payload; what is neither stays bytes. */
  data: unknown
  /** Channels with history only. */
  position: Position | undefined
  /** Who published, where the channel shows it. */
  userId: string | undefined
}

/** Hears a channel. What it throws is the caller's own fault, and ends nothing. */
export interface ChannelListener {
  /** Called once, before all else, in channels with history: what comes was stored after this position. */
  start?(position: Position): void
  publication(publication: FollowedPublication): void
  /** Publications are missing here; a channel with history goes on after the position. */
  gap?(reason: GapReason, position: Position | undefined): void
}

/** Reads channels as the server: no session, no authorization, from now on. */
export function createFollow(hub: Hub, failed: (error: unknown) => void) {
  return async (channel: string, listener: ChannelListener): Promise<() => void> => {
    const guarded = (run: () => void) => {
      try {
        run()
      } catch (error) {
        failed(error)
      }
    }
    let epoch = ''
    const read = (encoded: EncodedFrame) => {
      const frame = decode(encoded)
      const [kind, , event, place, ...rest] = frame.header
      if (kind === 'gap') {
        const position = typeof place === 'string' ? { epoch: place, offset: rest[0] as number } : undefined
        if (position) epoch = position.epoch
        return guarded(() => listener.gap?.(event as GapReason, position))
      }
      const userId = (rest.find((field) => typeof field === 'object') as { userId?: string } | undefined)
        ?.userId
      const position = typeof place === 'number' ? { epoch, offset: place } : undefined
      const data = dataOf(frame)
      guarded(() => listener.publication({ event: event as string, data, position, userId }))
    }
    const reader: Reader = {
      id: randomBase32(16),
      userId: null,
      isServer: true,
      send: read,
      room: () => Promise.resolve(),
      // Only who catches up is removed; this one begins at the newest.
      removed: (key, wire) => read(encodeFrame(['gap', wire, 'bus'], undefined, { channel: key })),
    }
    await hub.subscribe(reader, channel, undefined, (start) => {
      if (!start) return
      epoch = start.epoch
      guarded(() => listener.start?.(start))
    })
    return () => hub.unsubscribe(reader, channel)
  }
}

/** Part of a channel's history. */
export interface ChannelHistory {
  /** Oldest first. */
  publications: FollowedPublication[]
  /** There are older ones. */
  more: boolean
}

/** Reads what channels keep, as the server. */
export function createHistory(hub: Hub) {
  return async (
    channel: string,
    { before = Number.MAX_SAFE_INTEGER, limit = 100 }: { before?: number; limit?: number } = {},
  ): Promise<ChannelHistory> => {
    const { epoch, publications } = await hub.readBefore(channel, before, limit + 1)
    return {
      publications: publications.slice(-limit).map((publication) => ({
        event: publication.event,
        data: dataOf(publication),
        position: { epoch, offset: publication.offset },
        userId: publication.userId,
      })),
      more: publications.length > limit,
    }
  }
}

function dataOf(message: Pick<Message, 'data' | 'binary'>): unknown {
  try {
    return decodeData(message as Pick<Frame, 'data' | 'binary'>)
  } catch {
    // What another publisher put on the bus is not JSON: it is handed on as it came.
    return message.data
  }
}
