import { positionToken } from '@everwire/server'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fresh from 'fresh'
import { formatLink, type Announcement, type Revision } from '../announcement.js'
import { entityTag } from './revision.js'

const exposed = ['ETag', 'Link', 'Stream-Next-Offset']

/**
 * Says of an answer which state it is, unless the application does. One that announces no channel is another: what a
 * cache kept of the announcement would go on with a 304 that has none.
 */
export function nameState(
  reply: FastifyReply,
  revision: Revision,
  { shared, announced }: { shared: boolean; announced: boolean },
): void {
  if (!reply.hasHeader('etag')) reply.header('etag', entityTag(announced ? revision : `${revision}-p`))
  // Without it browsers may show what they have, and not ask.
  if (!reply.hasHeader('cache-control'))
    reply.header('cache-control', shared ? 'no-cache' : 'private, no-cache')
}

/** Says of an answer where its changes are published. */
export function announce(
  reply: FastifyReply,
  prefix: string,
  { channel, position, revision }: Omit<Announcement, 'href'>,
): void {
  const token = positionToken(position)
  const href = `${prefix}/channels/${encodeURIComponent(channel)}?offset=${encodeURIComponent(token)}`
  append(reply, 'link', [formatLink({ channel, position, revision, href })])
  reply.header('stream-next-offset', token)
}

/** Lets pages of other origins read what was added, where the application lets them read the answer. */
export function expose(reply: FastifyReply): void {
  if (!reply.hasHeader('access-control-allow-origin')) return
  const known = String(reply.getHeader('access-control-expose-headers') ?? '').toLowerCase()
  const names = known.split(',').map((name) => name.trim())
  append(
    reply,
    'access-control-expose-headers',
    exposed.filter((name) => !names.includes(name.toLowerCase())),
  )
}

/**
 * Whether the client has this state already. What it says of caches on the way is not for us, who look at the state
 * itself: `fetch` adds `Cache-Control: no-cache` to each request that has a condition of the page's own.
 */
export function isFresh({ headers }: FastifyRequest, reply: FastifyReply): boolean {
  const condition = headers['if-none-match']
  return (
    condition !== undefined &&
    fresh({ 'if-none-match': condition }, { etag: String(reply.getHeader('etag')) })
  )
}

function append(reply: FastifyReply, name: string, values: string[]): void {
  const known = reply.getHeader(name)
  const all = [...(known === undefined ? [] : [known].flat()), ...values]
  if (values.length > 0) reply.header(name, all.join(', '))
}
