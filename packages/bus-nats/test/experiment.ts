import { connect as dial, createServer, type AddressInfo, type Socket } from 'node:net'
import {
  randomBase32,
  systemClock,
  type Bus,
  type HistoryClass,
  type LiveListener,
  type LivePublication,
  type Position,
  type StoredPublication,
} from '@everwire/core'
import { startNats, type Nats, type NatsOptions as ServerOptions } from '@everwire/testkit/nats-server'
import type { NatsConnection } from '@nats-io/transport-node'
import type { Test } from 'tap'
import { nats, type NatsOptions } from '../src/index.js'

/** What experiments use that need nothing special. */
export const plain: HistoryClass = { size: 10_000, ttlMs: 600_000 }

export interface OpenOptions extends NatsOptions {
  dedupWindowMs?: number
}

/** A bus that is open, quick in what it checks, and closed with the test. */
export async function openBus(t: Test, { dedupWindowMs = 120_000, ...options }: OpenOptions): Promise<Bus> {
  const bus = nats({ partitions: 1, checkPeriodMs: 300, beatMs: 200, nodeTimeoutMs: 2_000, ...options })
  t.teardown(() => bus.close())
  await bus.open({ nodeId: randomBase32(12), dedupWindowMs, log() {} })
  await bus.declare('*', plain)
  return bus
}

/** One server, or three, of a test's own. */
export async function startServers(t: Test, options: ServerOptions = {}): Promise<Nats> {
  const nats = await startNats(options)
  t.teardown(() => nats.stop())
  return nats
}

/** A bus on each server of a cluster, in a place of its own; the first makes what they share. */
export async function openOnEach(t: Test, { servers }: Nats) {
  const prefix = `c-${randomBase32(6)}`
  const buses: Bus[] = []
  for (const { url } of servers) buses.push(await openBus(t, { servers: url, prefix }))
  return { buses, stream: `${prefix}_s${plain.size}-t${plain.ttlMs}_0` }
}

export type Heard =
  | { kind: 'start' | 'gap'; reason?: string; position: Position }
  | { kind: 'publication'; publication: StoredPublication }

export interface Followed {
  readonly heard: Heard[]
  offsets(): number[]
  events(): string[]
  gaps(): (string | undefined)[]
  stop(): void
}

export async function follow(bus: Bus, channel: string, history = plain): Promise<Followed> {
  const heard: Heard[] = []
  const publications = () => heard.flatMap((one) => (one.kind === 'publication' ? [one.publication] : []))
  const stop = await bus.follow(channel, history, {
    start: (position) => void heard.push({ kind: 'start', position }),
    publication: (publication) => void heard.push({ kind: 'publication', publication }),
    gap: (reason, position) => void heard.push({ kind: 'gap', reason, position }),
  })
  return {
    heard,
    stop,
    offsets: () => publications().map(({ offset }) => offset),
    events: () => publications().map(({ event }) => event),
    gaps: () => heard.flatMap((one) => (one.kind === 'gap' ? [one.reason] : [])),
  }
}

type LiveHeard = LivePublication | 'gap'

export interface Listened {
  readonly heard: LiveHeard[]
  /** How far the last gap goes, as the bus says. */
  through(): Parameters<LiveListener['gap']>[0]
  events(): string[]
  gaps(): number
  stop(): void
}

export async function listen(bus: Bus, channel: string): Promise<Listened> {
  const heard: LiveHeard[] = []
  let through: Parameters<LiveListener['gap']>[0]
  const stop = await bus.listen(channel, {
    publication: (publication) => void heard.push(publication),
    gap(given) {
      through = given
      heard.push('gap')
    },
  })
  return {
    heard,
    stop,
    through: () => through,
    events: () => heard.flatMap((one) => (one === 'gap' ? [] : [one.event])),
    gaps: () => heard.filter((one) => one === 'gap').length,
  }
}

/**
 * What a listener heard of events `publisher number`, against what was acknowledged, by publisher: in order, and where
 * something is missing the chain of numbers is broken, or a gap stands there. @returns what is wrong
 */
export function silentLiveLoss({ heard }: Listened, acknowledged: ReadonlyMap<string, number[]>): string[] {
  const runs = new Map<string, { last: number; number: number; told: boolean }>()
  const wrong: string[] = []
  let gaps = 0
  for (const one of heard) {
    if (one === 'gap') {
      gaps++
      for (const run of runs.values()) run.told = true
      continue
    }
    const [publisher = '', n] = one.event.split(' ')
    const known = runs.get(one.run)
    const told = known ? known.told || one.previous !== known.number : gaps > 0
    const last = known?.last ?? 0
    const missing = (acknowledged.get(publisher) ?? []).filter((other) => other > last && other < Number(n))
    if (missing.length > 0 && !told)
      wrong.push(`${missing.length} missing before ${one.event}, after ${last}`)
    if (Number(n) <= last) wrong.push(`${one.event} after ${last}`)
    runs.set(one.run, { last: Number(n), number: one.number, told: false })
  }
  return wrong
}

/**
 * What a follower heard, against what was accepted after its start: in order, nothing twice, and between two
 * neighbours nothing missing unless a gap stands there. @returns what is wrong, or nothing
 */
export function silentLoss({ heard }: Followed, accepted: readonly number[]): string | undefined {
  let last = 0
  let told = false
  for (const one of heard) {
    if (one.kind !== 'publication') {
      if (one.kind === 'start') last = one.position.offset
      told = one.kind === 'gap'
      continue
    }
    const { offset } = one.publication
    const missing = accepted.filter((other) => other > last && other < offset)
    if (offset <= last) return `${offset} came after ${last}`
    if (missing.length > 0 && !told) return `${missing.length} missing between ${last} and ${offset}`
    last = offset
    told = false
  }
  const missing = accepted.filter((offset) => offset > last)
  return missing.length > 0 && !told ? `${missing.length} missing after ${last}` : undefined
}

/**
 * Publishes until all have heard it: then whatever was lost before is shown by the numbers, too. What may be under way
 * when servers come back can be lost as well, so one more does not do.
 */
export async function broadcastUntilHeard(
  bus: Bus,
  channel: string,
  event: (turn: number) => string,
  listeners: readonly Listened[],
): Promise<void> {
  let turn = 0
  await until(
    async () => {
      const last = event(++turn)
      if ((await outcome(bus.broadcast(channel, { event: last }))) !== 'ok') return false
      await pause(20)
      return listeners.every(({ events }) => events().includes(last))
    },
    () => event(turn),
  )
}

const patienceMs = 20_000

/** Resolves once something holds, which processes and sockets of the experiment bring about. */
export async function until(
  condition: () => unknown,
  what: () => string,
  timeoutMs = patienceMs,
): Promise<void> {
  const started = systemClock.now()
  while (!(await condition())) {
    if (systemClock.now() - started > timeoutMs) throw new Error(`not within ${timeoutMs} ms: ${what()}`)
    await pause(5)
  }
}

export const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => void systemClock.after(ms, resolve))

export const range = (first: number, last: number): number[] =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i)

/** How a promise ended: `ok`, or the code of its error. */
export const outcome = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: { code?: string; message: string }) => error.code ?? error.message,
  )

/** The path from a node to its server, to be disturbed. */
export interface Wire {
  readonly url: string
  /** While on, nothing that the server says arrives; it waits. */
  holdAnswers(on: boolean): void
  /** Breaks every connection. What was held is lost. */
  cut(): void
}

export async function createWire(t: Test, serverUrl: string): Promise<Wire> {
  const { hostname, port } = new URL(serverUrl)
  const pairs = new Set<[Socket, Socket]>()
  let held = false
  const server = createServer((socket) => {
    const upstream = dial(Number(port), hostname)
    const pair: [Socket, Socket] = [socket, upstream]
    pairs.add(pair)
    for (const one of pair) {
      one.on('error', () => {})
      one.on('close', () => {
        pairs.delete(pair)
        socket.destroy()
        upstream.destroy()
      })
    }
    socket.pipe(upstream)
    upstream.on('data', (chunk: Buffer) => void socket.write(chunk))
    if (held) upstream.pause()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = () => {
    for (const pair of [...pairs]) for (const one of pair) one.destroy()
  }
  t.teardown(() => {
    cut()
    server.close()
  })
  return {
    url: `nats://127.0.0.1:${(server.address() as AddressInfo).port}`,
    holdAnswers(on) {
      held = on
      for (const [, upstream] of pairs)
        if (on) upstream.pause()
        else upstream.resume()
    },
    cut,
  }
}

/** A connection that loses whatever JetStream republishes, as core NATS may. */
export function withoutRepublications(connection: NatsConnection, losing = () => true): NatsConnection {
  const subscribe: NatsConnection['subscribe'] = (subject, options = {}) => {
    const { callback } = options
    if (!callback) return connection.subscribe(subject, options)
    return connection.subscribe(subject, {
      ...options,
      callback(error, message) {
        const isRepublished = subject.includes('.out.') && message.headers?.has('Nats-Stream')
        if (!(isRepublished && losing())) callback(error, message)
      },
    })
  }
  return new Proxy(connection, {
    get(target, name) {
      if (name === 'subscribe') return subscribe
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}
