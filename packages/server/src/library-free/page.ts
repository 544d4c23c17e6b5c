import { utf8Length, type HistoryPage, type Position } from '@everwire/core'
import type { Hub } from '../channels/hub.js'
import { liveToken, positionToken, type Start } from './position-token.js'
import { publicationJson } from '../channels/publication.js'

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
  limits: PageLimits,
): Promise<ChannelPage | Gone> {
  if (start === 'live') return await gone(hub, key, 'epoch')
  if (start === 'beginning') {
    const { page, from } = await readBeginning(hub, key, limits.chunkSize)
    return pageOf(page, from, limits)
  }
  const page = await hub.read(key, start.offset, limits.chunkSize)
  if (page.epoch !== start.epoch) return await gone(hub, key, 'epoch')
  if (!page.complete) return await gone(hub, key, 'expired')
  if (page.publications.length === 0 && page.tail < start.offset) return await gone(hub, key, 'epoch')
  return pageOf(page, start, limits)
}

/** Right before the oldest publication that is kept. */
export async function readOldest(hub: Hub, key: string): Promise<Position> {
  return (await readBeginning(hub, key, 1)).from
}

/** Where one that begins now starts. */
export async function readTail(hub: Hub, key: string): Promise<string> {
  if (!hub.rule(key).history) return liveToken
  const { epoch, tail } = await hub.read(key, 0, 1)
  return positionToken({ epoch, offset: tail })
}

async function readBeginning(
  hub: Hub,
  key: string,
  limit: number,
): Promise<{ page: HistoryPage; from: Position }> {
  const early = await hub.read(key, 0, limit)
  // What is stored while an empty channel is read may lie before the tail: a second reading has it.
  const page = early.publications.length > 0 ? early : await hub.read(key, 0, limit)
  const { epoch } = page
  if (epoch !== early.epoch) return await readBeginning(hub, key, limit)
  const [first] = page.publications
  return { page, from: { epoch, offset: first ? first.offset - 1 : early.tail } }
}

function pageOf(
  { epoch, publications, tail }: HistoryPage,
  from: Position,
  { chunkSize, chunkBytes }: PageLimits,
): ChannelPage {
  const messages: string[] = []
  let next = from
  let bytes = 0
  for (const publication of publications) {
    const place = { epoch, offset: publication.offset }
    const message = publicationJson(publication, positionToken(place))
    bytes += utf8Length(message) + 1
    if (bytes > chunkBytes && messages.length > 0) break
    messages.push(message)
    next = place
  }
  const isCut = messages.length < publications.length
  // Less than was asked for is all there is; the tail alone may lie further, where other channels store.
  const upToDate = !isCut && (publications.length < chunkSize || next.offset >= tail)
  const tag = [positionToken(from), String(next.offset), ...(upToDate ? ['u'] : [])].join(':')
  return { messages, next, upToDate, tag }
}

const gone = async (hub: Hub, key: string, reason: Gone['reason']): Promise<Gone> => ({
  reason,
  next: positionToken(await readOldest(hub, key)),
})
