import { createHash } from 'node:crypto'
import type { Revision } from '../announcement.js'

const digestLength = 22

/** A state of a resource, as it is sent. */
export interface Content {
  text: string
  revision: Revision
}

/** Names content by what it is. */
export const digest = (content: string | Uint8Array): string =>
  createHash('sha256').update(content).digest('base64url').slice(0, digestLength)

/**
 * Names states of a route's answers: by what `revision` says of the data, else by content.
 * @throws TypeError when `revision` says what is none, and what it throws
 */
export function createRevisions(revision: ((data: unknown) => Revision) | undefined) {
  // Most polls bring what the one before them brought.
  let last: { content: string; revision: Revision } | undefined
  const name = (content: string | Uint8Array) => {
    if (!revision) return digest(content)
    const named = revision(
      JSON.parse(typeof content === 'string' ? content : Buffer.from(content).toString()),
    )
    if (!isRevision(named))
      throw new TypeError(`revision must give a whole number from 0, or a text; it is ${String(named)}`)
    return named
  }
  return (content: string | Uint8Array): Revision => {
    if (typeof content !== 'string') return name(content)
    if (last?.content !== content) last = { content, revision: name(content) }
    return last.revision
  }
}

const maxRevisionLength = 256

export const isRevision = (value: unknown): value is Revision =>
  typeof value === 'number'
    ? Number.isSafeInteger(value) && value >= 0
    : typeof value === 'string' && value !== '' && value.length <= maxRevisionLength && isWellFormed(value)

/** Half a surrogate pair cannot stand in a header. */
const isWellFormed = (text: string): boolean => Buffer.from(text).toString() === text

/** A weak entity tag (RFC 9110 §8.8.3): what is compressed on the way is the same. */
export const entityTag = (revision: Revision): string =>
  `W/"${typeof revision === 'number' ? revision : encodeURIComponent(revision)}"`
