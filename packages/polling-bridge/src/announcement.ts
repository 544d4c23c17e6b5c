import type { Position } from '@everwire/core'

/** Names a state of a resource: a digest of its content, or a number that only rises. */
export type Revision = string | number

/** What an answer says of its live channel. */
export interface Announcement {
  channel: string
  /** The answer holds everything that was published up to here. */
  position: Position
  revision: Revision
  /** Where the channel is read without a library; relative to the answer's own address. */
  href: string
}

/** A resource that can be used to monitor changes of the one at hand (RFC 5989). */
const relation = 'monitor'

/** An announcement as a value of the `Link` header (RFC 8288). Whatever is not ASCII is percent-encoded. */
export function formatLink({ channel, position, revision, href }: Announcement): string {
  const attributes = {
    rel: relation,
    channel: encodeURIComponent(channel),
    epoch: encodeURIComponent(position.epoch),
    offset: position.offset,
    revision: typeof revision === 'number' ? `n${revision}` : `s${encodeURIComponent(revision)}`,
  }
  const listed = Object.entries(attributes).map(([name, value]) => `; ${name}="${value}"`)
  return `<${href}>${listed.join('')}`
}

/** The announcement among the links of an answer; undefined when there is none, or it is not one of ours. */
export function readLink(header: string | null | undefined): Announcement | undefined {
  for (const [, href, list] of (header ?? '').matchAll(
    /<([^>]*)>((?:\s*;\s*[\w-]+=(?:"[^"]*"|[^",;\s]*))*)/g,
  )) {
    const attributes = Object.fromEntries(
      [...list!.matchAll(/;\s*([\w-]+)="?([^";,]*)/g)].map(([, name, value]) => [name, value]),
    ) as Record<string, string | undefined>
    const { rel, channel, epoch, offset, revision } = attributes
    if (rel !== relation || !channel || !epoch || !revision || !/^\d{1,16}$/.test(offset ?? '')) continue
    try {
      return {
        href: href!,
        channel: decodeURIComponent(channel),
        position: { epoch: decodeURIComponent(epoch), offset: Number(offset) },
        revision: revision[0] === 'n' ? Number(revision.slice(1)) : decodeURIComponent(revision.slice(1)),
      }
    } catch {
      // Percent signs of somebody else.
    }
  }
  return undefined
}
