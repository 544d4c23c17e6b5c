import {
  EverwireError,
  fromUtf8,
  randomBase32,
  systemClock,
  type Bus,
  type HistoryClass,
  type LivePublication,
  type Message,
  type Position,
  type StoredPublication,
} from '@everwire/core'
import { pause, until } from '../transport-suite/until.js'
import type { BusSuiteOptions, BusSuiteTest } from './types.js'

/** What cases use that need nothing special. */
export const plain: HistoryClass = { size: 1_000, ttlMs: 600_000 }

interface WorldOptions {
  /** Buses on one backend. @default 1 */
  nodes?: number
  /** @default 120000 */
  dedupWindowMs?: number
}

export interface World {
  /** The first. */
  readonly bus: Bus
  readonly buses: readonly Bus[]
  /** One more on the same backend, open. */
  join(): Promise<Bus>
  /** Milliseconds that have passed at the backend. */
  now(): number
  /** Lets time pass until something holds, `stepMs` at a time; says what was awaited when it does not. */
  later(condition: () => unknown, what: string, stepMs?: number): Promise<void>
}

const mostWaitMs = 20_000

export async function createWorld(
  t: BusSuiteTest,
  suite: BusSuiteOptions,
  { nodes = 1, dedupWindowMs = 120_000 }: WorldOptions = {},
): Promise<World> {
  const backend = await suite.create()
  const buses: Bus[] = []
  const started = systemClock.now()
  let advanced = 0
  const now = () => (backend.advance ? advanced : systemClock.now() - started)

  const join = async () => {
    const bus = backend.createBus()
    t.teardown(() => bus.close())
    await bus.open({ nodeId: randomBase32(12), dedupWindowMs, log() {} })
    return bus
  }
  for (let node = 1; node <= nodes; node++) buses.push(await join())

  return {
    bus: buses[0]!,
    buses,
    join,
    now,
    async later(condition, what, stepMs = 20) {
      const deadline = now() + mostWaitMs
      while (!(await condition())) {
        if (now() > deadline) throw new Error(`not within ${mostWaitMs} ms: ${what}`)
        if (!backend.advance) await pause(stepMs)
        else {
          await backend.advance(stepMs)
          advanced += stepMs
        }
      }
    },
  }
}

/** What a follower hears. */
export interface Followed {
  /** Everything in order: `['start', 7]`, `['publication', 9]`, `['gap', 'expired', 12]`. */
  readonly heard: unknown[][]
  readonly starts: Position[]
  readonly publications: StoredPublication[]
  /** Offsets of the publications. */
  offsets(): number[]
  /** Resolves once so many publications came. */
  came(count: number): Promise<void>
  undo(): void
}

export async function follow(bus: Bus, channel: string, history = plain): Promise<Followed> {
  const heard: unknown[][] = []
  const starts: Position[] = []
  const publications: StoredPublication[] = []
  const undo = await bus.follow(channel, history, {
    start(position) {
      starts.push(position)
      heard.push(['start', position.offset])
    },
    publication(publication) {
      publications.push(publication)
      heard.push(['publication', publication.offset])
    },
    gap: (reason, { offset }) => void heard.push(['gap', reason, offset]),
  })
  return {
    heard,
    starts,
    publications,
    undo,
    offsets: () => publications.map(({ offset }) => offset),
    came: (count) =>
      until(
        () => publications.length >= count,
        () => `${publications.length} of ${count} in ${channel}`,
      ),
  }
}

/** What a listener hears. */
export interface Listened {
  readonly publications: LivePublication[]
  readonly gaps: () => number
  events(): string[]
  came(count: number): Promise<void>
  undo(): void
}

export async function listen(bus: Bus, channel: string): Promise<Listened> {
  const publications: LivePublication[] = []
  let gaps = 0
  const undo = await bus.listen(channel, {
    publication: (publication) => void publications.push(publication),
    gap: () => void gaps++,
  })
  return {
    publications,
    gaps: () => gaps,
    undo,
    events: () => publications.map(({ event }) => event),
    came: (count) =>
      until(
        () => publications.length >= count,
        () => `${publications.length} of ${count} in ${channel}`,
      ),
  }
}

/** Stores one after the other. @returns their offsets */
export async function storeEach(
  bus: Bus,
  channel: string,
  events: readonly string[],
  history = plain,
): Promise<number[]> {
  const offsets: number[] = []
  for (const event of events) offsets.push((await bus.store(channel, history, { event })).offset)
  return offsets
}

/** Every field of a publication in one form, whichever a bus chose: JSON as text, opaque bytes in hexadecimal. */
export const fieldsOf = ({ event, data, binary, userId, except }: Message) => ({
  event,
  data:
    data === undefined
      ? undefined
      : binary
        ? `binary ${Buffer.from(data as Uint8Array).toString('hex')}`
        : `JSON ${typeof data === 'string' ? data : fromUtf8(data)}`,
  userId,
  except,
})

/** What a promise is rejected with; undefined when it is not. */
export const rejection = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

export const isEverwireError = (error: unknown): boolean => error instanceof EverwireError

export const rises = (numbers: readonly number[]): boolean =>
  numbers.every((number, i) => i === 0 || number > numbers[i - 1]!)

export const range = (first: number, last: number): number[] =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i)

export const names = (count: number, prefix = 'e'): string[] => range(1, count).map((n) => `${prefix}${n}`)
