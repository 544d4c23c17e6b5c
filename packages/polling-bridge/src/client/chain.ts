import type { Position } from '@everwire/core'
import type { Revision } from '../announcement.js'
import { applyPatch } from '../apply-patch.js'
import type { Changes } from '../change.js'

// Which state of a resource is shown, out of answers of its route and publications on its channel, that come in any
// order. The rules are those of docs/decisions/006-migration.md. State in, state out.

type Change = {
  [Event in keyof Changes]: { readonly event: Event } & Readonly<Changes[Event]>
}[keyof Changes]

export type Publication = Change & { readonly position?: Position | undefined }

/** A state of the resource, as its route answered it. */
export interface Answer {
  readonly revision: Revision
  readonly data: unknown
  /** It holds everything that was published up to here. */
  readonly position: Position
}

export interface Chain {
  /** The state that is shown. */
  readonly mine: Revision
  readonly data: unknown
  /** Of the answer that `mine` came with, or of a later one that said the same. */
  readonly position: Position
  /** What is not chained, oldest first. While there is any, the route must be asked. */
  readonly kept: readonly Kept[]
  /** How many publications came; says when an answer was asked for. */
  readonly came: number
  /** Which of them made `mine` last, and where it stood. */
  readonly made: { readonly number: number; readonly position?: Position | undefined }
}

interface Kept {
  readonly number: number
  readonly publication: Publication
}

/** What is older is part of the answer that all of them wait for. */
const maxKept = 100

/** A publication as it came; undefined when it is none of a resource's. What is malformed only says that something changed. */
export function readPublication(
  event: string,
  data: unknown,
  position: Position | undefined,
): Publication | undefined {
  if (event !== 'snapshot' && event !== 'patch' && event !== 'invalidate') return undefined
  const fields = (data ?? {}) as Partial<Record<'from' | 'to' | 'data' | 'patch', unknown>>
  const from = isRevision(fields.from) ? fields.from : null
  const to = isRevision(fields.to) ? fields.to : null
  if (event === 'snapshot' && to !== null && 'data' in fields)
    return { event, from, to, data: fields.data, position }
  if (event === 'patch' && to !== null && from !== null && Array.isArray(fields.patch))
    return { event, from, to, patch: fields.patch as Changes['patch']['patch'], position }
  return { event: 'invalidate', to, position }
}

const isRevision = (value: unknown): value is Revision =>
  typeof value === 'string' || Number.isSafeInteger(value)

/** The first answer. */
export const begin = ({ revision, data, position }: Answer): Chain => ({
  mine: revision,
  data,
  position,
  kept: [],
  came: 0,
  made: { number: 0 },
})

/** A publication came. */
export function take(chain: Chain, publication: Publication): Chain {
  const number = chain.came + 1
  return settle({ ...chain, came: number, kept: [...chain.kept, { number, publication }].slice(-maxKept) })
}

/** Publications are missing: only an answer that is asked for from now on says what became of it. */
export const miss = (chain: Chain): Chain => take(chain, { event: 'invalidate', to: null })

/** An answer came, that was asked for when so many publications had come. */
export function answered(chain: Chain, answer: Answer, asked: number): Chain {
  const { mine, made } = chain
  const { revision, position } = answer
  // Whatever came before it was asked for is part of it.
  const kept = chain.kept.filter(({ number }) => number > asked)
  if (revision === mine)
    return settle({ ...chain, kept, position: isUpTo(position, chain.position) ? chain.position : position })
  const rise = difference(revision, mine)
  if (rise !== undefined) {
    if (rise < 0) return settle({ ...chain, kept })
  } else if (asked < made.number && !isUpTo(made.position, position))
    // Rule 5.
    return chain
  return settle({ ...chain, mine: revision, data: answer.data, position, kept })
}

/** Drops what is past, and applies what follows, until the first that does not. */
function settle(chain: Chain): Chain {
  for (;;) {
    const kept = withoutPast(chain)
    const [next] = kept
    const made = next && apply(chain, next)
    if (!made) return { ...chain, kept }
    chain = { ...made, kept: kept.slice(1) }
  }
}

/** Rules 1 and 2, and the first half of 4. */
function withoutPast({ mine, position, kept }: Chain): readonly Kept[] {
  const past = new Set<Kept>()
  kept.forEach((one, at) => {
    const { to } = one.publication
    if (isUpTo(one.publication.position, position) || difference(to, mine)! <= 0) past.add(one)
    if (to !== mine) return
    // And those that lead to it, each to one of those after it; the states of all of them are older than mine.
    const states = new Set<Revision | null>([mine])
    for (const before of kept.slice(0, at + 1).reverse()) {
      const { publication } = before
      if (publication.to === null || !states.has(publication.to)) break
      past.add(before)
      if (publication.event !== 'invalidate' && publication.from !== null) states.add(publication.from)
    }
  })
  return past.size ? kept.filter((one) => !past.has(one)) : kept
}

/** Rule 3; undefined when it does not follow. */
function apply(chain: Chain, { number, publication }: Kept): Chain | undefined {
  const { mine } = chain
  if (publication.event === 'invalidate') return undefined
  const { from, to, position } = publication
  const rises = publication.event === 'snapshot' && difference(to, mine)! > 0
  if (from !== mine && !rises) return undefined
  try {
    const data =
      publication.event === 'snapshot' ? publication.data : applyPatch(chain.data, publication.patch)
    return { ...chain, mine: to, data, made: { number, position } }
  } catch {
    return undefined
  }
}

/** How much newer one is; undefined, which is neither more nor less, unless both are numbers. */
const difference = (one: Revision | null, other: Revision): number | undefined =>
  typeof one === 'number' && typeof other === 'number' ? one - other : undefined

/** Whether a position is not after another one; they cannot be told apart by epochs. */
export const isUpTo = (position: Position | undefined, other: Position): boolean =>
  position?.epoch === other.epoch && position.offset <= other.offset
