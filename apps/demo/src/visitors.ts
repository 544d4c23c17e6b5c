import { createHash, randomBytes } from 'node:crypto'
import type { Clock } from '@everwire/core'
import { noFaults, type PathFaults } from './path-faults.js'

const cookieName = 'everwire-demo-visitor'
const idBytes = 16
const idPattern = /^[\w-]{22}$/

/** The visitor's secret id, from the cookies of a request. */
export function visitorOf(cookies: string | undefined): string | undefined {
  for (const cookie of (cookies ?? '').split(';')) {
    const [name, value = ''] = cookie.trim().split('=')
    if (name === cookieName && idPattern.test(value)) return value
  }
  return undefined
}

/** A cookie that makes a stranger a visitor. */
export const newVisitorCookie = (): string =>
  `${cookieName}=${randomBytes(idBytes).toString('base64url')}; Path=/; HttpOnly; SameSite=Lax`

/** What others may know of a visitor. */
export const publicName = (visitor: string): string =>
  createHash('sha256').update(visitor).digest('base64url').slice(0, 8)

export interface Visitors {
  /** What the path does to this visitor. Counts as a sign of life. */
  faults(visitor: string | undefined): PathFaults
  /** @returns the faults that hold now, or undefined when too many visitors have faults already */
  change(visitor: string, change: Partial<PathFaults>): PathFaults | undefined
  close(): void
}

/** Remembers the visitors whose path is broken, and forgets those that are gone. */
export function createVisitors({
  clock,
  most,
  idleMs,
}: {
  clock: Clock
  most: number
  idleMs: number
}): Visitors {
  const broken = new Map<string, { faults: PathFaults; seenAt: number }>()
  const sweep = () => {
    for (const [visitor, { seenAt }] of broken) if (clock.now() - seenAt >= idleMs) broken.delete(visitor)
    cancel = clock.after(idleMs / 2, sweep)
  }
  let cancel = clock.after(idleMs / 2, sweep)
  return {
    faults(visitor) {
      const entry = visitor === undefined ? undefined : broken.get(visitor)
      if (!entry) return noFaults
      entry.seenAt = clock.now()
      return entry.faults
    },
    change(visitor, change) {
      const faults = { ...(broken.get(visitor)?.faults ?? noFaults), ...change }
      if (Object.values(faults).every((fault) => fault === 'ok')) broken.delete(visitor)
      else if (!broken.has(visitor) && broken.size >= most) return undefined
      else broken.set(visitor, { faults, seenAt: clock.now() })
      return faults
    },
    close: () => cancel(),
  }
}
