import { utf8Length, type Position } from '@everwire/core'
import type { Hub } from './hub.js'
import { liveToken, positionToken, type Start } from './position-token.js'
import { publicationJson } from './publication.js'

/** One answer to a reader that catches up. */
export interface ChannelPage {
  /** Publications as JSON, oldest first. */
  messages: readonly string[]
  /** Where the next read goes on. */
  next: Position
  /** There was nothing more. */
  upToDate: boolean
  /** Where it starts and ends, and how: an answer with the same tag has the same body. */
  tag: string
}

/** The position cannot be read from; what is still kept begins after `next`. */
export interface Gone {
  reason: 'expired' | 'epoch'
  next: string
}

export interface PageLimits {
  chunkSize: number
  chunkBytes: number
}

/** Reads what follows a position, or the oldest that is kept. @throws EverwireError `no-history` */
export async function readPage(
  hub: Hub,
  key: string,
  start: Exclude<Start, 'now'>,
  { chunkSize, chunkBytes }: PageLimits,
): Promise<ChannelPage | Gone> {
  const position = typeof start === 'object' ? start : undefined
  const { epoch, publications, complete, tail } = await hub.read(key, position?.offset ?? 0, chunkSize)
  const first = publications[0]
  if (start === 'live' || (position && epoch !== position.epoch)) return await oldest(hub, key, 'epoch')
  if (position && !complete)
    return first ? gone('expired', { epoch, offset: first.offset - 1 }) : await oldest(hub, key, 'expired')
  if (!first) {
    if (position && tail < position.offset && !(await hub.hasReached(key, position)))
      return await oldest(hub, key, 'epoch')
    // Whatever was stored before the tail was known is in a second reading: the tail alone could jump over it.
    if (!position && tail > 0)
      return await readPage(hub, key, { epoch, offset: tail }, { chunkSize, chunkBytes })
    return page([], { epoch, offset: position?.offset ?? tail }, true)
  }
  const messages: string[] = []
  let next = { epoch, offset: 0 }
  let bytes = 0
  for (const publication of publications) {
    const place = { epoch, offset: publication.offset }
    const message = publicationJson(publication, positionToken(place))
    bytes += utf8Length(message) + 1
    if (bytes > chunkBytes && messages.length > 0) break
    messages.push(message)
    next = place
  }
  return page(messages, next, next.offset >= tail, position ?? { epoch, offset: first.offset - 1 })
}

/** Where one that begins now starts. */
export async function readTail(hub: Hub, key: string): Promise<string> {
  if (!hub.rule(key).history) return liveToken
  const { epoch, tail } = await hub.read(key, 0, 1)
  return positionToken({ epoch, offset: tail })
}

function page(
  messages: readonly string[],
  next: Position,
  upToDate: boolean,
  from: Position = next,
): ChannelPage {
  const tag = [positionToken(from), String(next.offset), ...(upToDate ? ['u'] : [])].join(':')
  return { messages, next, upToDate, tag }
}

const gone = (reason: Gone['reason'], next: Position): Gone => ({ reason, next: positionToken(next) })

const oldest = async (hub: Hub, key: string, reason: Gone['reason']): Promise<Gone> =>
  gone(reason, await readOldest(hub, key))

/** Right before the oldest publication that is kept. */
export async function readOldest(hub: Hub, key: string): Promise<Position> {
  const { epoch, publications, tail } = await hub.read(key, 0, 1)
  const [first] = publications
  return { epoch, offset: first ? first.offset - 1 : tail }
}
