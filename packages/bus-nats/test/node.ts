import {
  systemClock,
  type Bus,
  type HistoryClass,
  type Position,
  type StoredPublication,
} from '@everwire/core'
import { nats, type NatsOptions } from '../src/index.js'

/** How long an event may take, on a machine that is busy with other tests. */
const patienceMs = 20_000

export const history: HistoryClass = { size: 50, ttlMs: 600_000 }

/** Anything that happens, in order, for tests that wait for it. */
export class Record<T> {
  readonly all: T[] = []
  #waiting = new Set<() => void>()

  push(one: T): void {
    this.all.push(one)
    for (const look of [...this.#waiting]) look()
  }

  /** Resolves with the first that fits, now or later. */
  first(fits: (one: T) => boolean, what: string): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = systemClock.after(patienceMs, () => {
        this.#waiting.delete(look)
        reject(new Error(`not within ${patienceMs} ms: ${what}; there was ${JSON.stringify(this.all)}`))
      })
      const look = () => {
        const found = this.all.find(fits)
        if (found === undefined) return
        this.#waiting.delete(look)
        cancel()
        resolve(found)
      }
      this.#waiting.add(look)
      look()
    })
  }

  /** Resolves once there are so many. */
  async atLeast(count: number, what: string): Promise<readonly T[]> {
    await this.first(() => this.all.length >= count, `${count} × ${what}`)
    return this.all
  }
}

export interface LogLine {
  level: string
  message: string
}

export interface TestNode extends Bus {
  readonly log: Record<LogLine>
}

/** What ends with a test. */
export interface Owner {
  teardown(end: () => Promise<void>): void
}

let nodes = 0

/** A bus that is not open yet, and closes with the test. */
export function createNode(owner: Owner, options: NatsOptions): TestNode {
  const log = new Record<LogLine>()
  const bus = nats(options)
  const nodeId = `node${String(++nodes).padStart(4, '0')}`
  const { open } = { open: bus.open.bind(bus) }
  owner.teardown(() => bus.close())
  return Object.assign(bus, {
    log,
    open: () =>
      open({
        nodeId,
        dedupWindowMs: 120_000,
        log: (level, _fields, message) => log.push({ level, message }),
      }),
  }) as unknown as TestNode
}

/** A bus that is open. */
export async function openNode(owner: Owner, options: NatsOptions): Promise<TestNode> {
  const node = createNode(owner, options)
  await node.open(undefined as never)
  return node
}

export type Heard =
  | { kind: 'start'; position: Position }
  | { kind: 'publication'; publication: StoredPublication }
  | { kind: 'gap'; reason: string; position: Position }

/** Follows a channel and writes all down. */
export async function follow(bus: Bus, channel: string, of = history) {
  const heard = new Record<Heard>()
  const stop = await bus.follow(channel, of, {
    start: (position) => heard.push({ kind: 'start', position }),
    publication: (publication) => heard.push({ kind: 'publication', publication }),
    gap: (reason, position) => heard.push({ kind: 'gap', reason, position }),
  })
  const publication = (fits: (text: string) => boolean, what: string) =>
    heard.first((one) => one.kind === 'publication' && fits(textOf(one.publication.data)), what)
  return { heard, stop, publication }
}

/** Listens to a live channel and writes the payloads down. */
export async function listen(bus: Bus, channel: string) {
  const heard = new Record<string>()
  const gaps = new Record<true>()
  const stop = await bus.listen(channel, {
    publication: ({ data }) => heard.push(textOf(data)),
    gap: () => gaps.push(true),
  })
  return { heard, gaps, stop }
}

export const textOf = (data: unknown): string =>
  data === undefined ? '' : typeof data === 'string' ? data : Buffer.from(data as Uint8Array).toString()

/** What a promise was rejected with. */
export const rejection = async (promise: Promise<unknown>): Promise<Error & { code?: string }> => {
  try {
    await promise
  } catch (error) {
    return error as Error & { code?: string }
  }
  throw new Error('it was not rejected')
}
