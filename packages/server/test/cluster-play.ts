import fc from 'fast-check'
import {
  createRawClient,
  createWorld,
  resumeWindowMs,
  type RawClient,
  type Reading,
  type Style,
  type WorldNode,
} from './cluster-world.js'
import { good } from './node-network.js'

/** How hostile the world is. */
export type Weather = 'clean' | 'lossy' | 'breaking'

const steps = {
  live: 10,
  history: 6,
  clientLive: 3,
  clientHistory: 4,
  request: 4,
  slowRequest: 2,
  subscribe: 6,
  unsubscribe: 2,
  lose: 4,
  attach: 6,
  race: 4,
  silence: 2,
  wake: 1,
  wait: 6,
  drain: 2,
  start: 1,
  // Only where nodes and the ways between them break.
  crash: 1,
  cut: 1,
  heal: 2,
}

export interface Step {
  kind: keyof typeof steps
  at: number
  size: number
}

export const schedule: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    kind: fc.oneof(
      ...Object.entries(steps).map(([kind, weight]) => ({
        weight,
        arbitrary: fc.constant(kind as keyof typeof steps),
      })),
    ),
    at: fc.nat(1_000),
    size: fc.nat(100),
  }),
  { minLength: 10, maxLength: 60, size: 'max' },
)

interface Published {
  begun: number
  readonly accepted: Set<number>
}

/** What is known of a live reading from outside. */
interface LiveNotes {
  /** What had begun to be published when the subscription was answered. */
  readonly from: Map<string, number>
  /** The same for each gap, by its place in what was seen. */
  readonly gaps: Map<number, Map<string, number>>
}

const liveChannels = ['live:a', 'live:b'] as const
const historyChannels = ['history:a', 'history:b'] as const
const styles: readonly Style[] = ['stream', 'sse', 'poll', 'stream']

/** Plays a schedule, brings quiet, and tells everything that was wrong. */
export async function play(weather: Weather, seed: number, list: readonly Step[]): Promise<string[]> {
  const realRandom = Math.random
  const world = createWorld({ seed, closeMs: 500 })
  const { clock, network, random, violations } = world
  // Drains shuffle.
  Math.random = random
  let requestLoss = 0
  const drained: { node: WorldNode; recovered: number | undefined; closed: boolean }[] = []
  let crashed = false
  let number = 0
  const live = new Map<string, Map<string, Published>>(liveChannels.map((channel) => [channel, new Map()]))
  const notes = new Map<Reading, LiveNotes>()
  const outcomes: { kind: string; channel: string; value: string; outcome: string; client: RawClient }[] = []
  const clients: RawClient[] = []
  /** Clients without a link, and since when. */
  const away = new Map<RawClient, number>()

  const options = { heartbeatMs: 5_000, pollWaitMs: 2_000, drainMs: 8_000 }

  const begunOf = (channel: string) =>
    new Map([...live.get(channel)!].map(([publisher, { begun }]) => [publisher, begun]))
  const isLive = (channel: string) => channel.startsWith('live')
  const upNodes = () => world.nodes.filter(({ isUp }) => isUp)
  const nodeAt = (at: number) => upNodes()[at % upNodes().length]!
  const clientAt = (at: number) => clients[at % clients.length]!

  /** Publishes in a live channel as somebody whose order is kept. */
  const publishing = (channel: string, publisher: string): [n: number, accepted: () => void] => {
    const series = live.get(channel)!
    const one = series.get(publisher) ?? { begun: 0, accepted: new Set() }
    series.set(publisher, one)
    const n = ++one.begun
    return [n, () => one.accepted.add(n)]
  }

  const run: Record<Step['kind'], (at: number, size: number) => unknown> = {
    live(at) {
      const channel = liveChannels[at % 2]!
      // Two publishers, as long as their nodes live.
      const node = nodeAt(at % 2)
      const [n, accepted] = publishing(channel, node.id)
      node.publish(channel, `${node.id} ${n}`).then(accepted, () => {})
    },
    history(at) {
      const channel = historyChannels[at % 2]!
      nodeAt(at)
        .publish(channel, `server ${++number}`)
        .catch(() => {})
    },
    clientLive(at) {
      const channel = liveChannels[at % 2]!
      const client = clientAt(at)
      const publisher = `${client.name}-${++number}`
      const [n, accepted] = publishing(channel, publisher)
      void client.publish(channel, `${publisher} ${n}`).then((outcome) => {
        if (outcome === 'ack') accepted()
        outcomes.push({ kind: 'pub', channel, value: publisher, outcome, client })
      })
    },
    clientHistory(at) {
      const channel = historyChannels[at % 2]!
      const client = clientAt(at)
      const value = `${client.name} ${++number}`
      void client
        .publish(channel, value, value)
        .then((outcome) => outcomes.push({ kind: 'pub', channel, value, outcome, client }))
    },
    request: (at) => call(at, 0),
    slowRequest: (at, size) => call(at, size * 25),
    subscribe: (at) => clientAt(at).subscribe([...liveChannels, ...historyChannels][at % 4]!),
    unsubscribe: (at) => clientAt(at).unsubscribe([...liveChannels, ...historyChannels][at % 4]!),
    lose: (at, size) => clientAt(at).lose((['both', 'client', 'server', 'nobody'] as const)[size % 4]!),
    attach: (at, size) => clientAt(at).attach(nodeAt(size), styles[at % 4]!),
    race(at, size) {
      clientAt(at).race(nodeAt(size), styles[at % 4]!)
      clientAt(at).race(nodeAt(size + 1), styles[size % 4]!)
    },
    silence(at) {
      const client = clientAt(at)
      client.auto = false
      client.lose('both')
    },
    wake: (at) => (clientAt(at).auto = true),
    async wait(_at, size) {
      await clock.advance(size * 20)
    },
    drain(at) {
      const node = nodeAt(at)
      // One more must take what it has.
      const ready = upNodes().filter((one) => one.app.everwire.ready && one !== node)
      if (ready.length < 2 || drained.some((one) => one.node === node)) return
      const one: (typeof drained)[number] = { node, recovered: undefined, closed: false }
      drained.push(one)
      void node.app.everwire.drain({ noticeMs: (at % 3) * 100 }).then(async ({ recovered }) => {
        one.recovered = recovered
        await node.close()
        one.closed = true
      })
    },
    async start() {
      if (world.nodes.length < 5) await world.start(options)
    },
    crash(at) {
      const ready = upNodes().filter((one) => one.app.everwire.ready)
      if (weather !== 'breaking' || crashed || ready.length < 3) return
      crashed = true
      nodeAt(at).crash()
    },
    cut(at) {
      if (weather === 'breaking') network.cut(nodeAt(at).id)
    },
    heal() {
      for (const { id } of world.nodes) network.heal(id)
    },
  }
  const call = (at: number, ms: number) => {
    const client = clientAt(at)
    const value = `${client.name} ${++number}`
    void client
      .request({ key: value, ms })
      .then((outcome) =>
        outcomes.push({ kind: ms > 0 ? 'slow' : 'req', channel: '', value, outcome, client }),
      )
  }

  /** Who stays away for a whole window has lost its session, whatever the weather: nobody does. */
  const comeBack = (at: number) => {
    for (const client of clients) {
      if (client.attached) away.delete(client)
      else if (!away.has(client)) away.set(client, clock.now())
      else if (clock.now() - away.get(client)! > resumeWindowMs / 2) client.attach(nodeAt(at), 'stream')
    }
  }

  /** From here on the network is good, and every client comes back. */
  const quiet = async () => {
    network.faults = good
    requestLoss = 0
    for (const { id } of world.nodes) network.heal(id)
    for (const client of clients) {
      client.auto = true
      client.notice()
      if (!client.attached) client.attach(nodeAt(0), 'stream')
    }
    const isQuiet = () =>
      clients.every(
        ({ attached, unanswered, readings }) =>
          attached &&
          unanswered === 0 &&
          readings.every(({ open, again, closing }) => closing || (open && !again)),
      ) && drained.every(({ closed, node }) => closed || node.isCrashed)
    await world.until(isQuiet, 'quiet', 60_000)
    // What the drained node still had comes elsewhere, and whoever is dead is found out.
    await clock.advance(8_000)
    await world.until(isQuiet, 'quiet after a drain', 60_000)
    await clock.advance(500)
  }

  const judgeLive = ({ name }: RawClient, reading: Reading) => {
    const { channel, seen, closing } = reading
    const { from, gaps } = notes.get(reading)!
    if (weather === 'clean' && gaps.size > 0)
      violations.push(`${name} was told of a gap in ${channel} in clean weather: ${JSON.stringify(seen)}`)
    for (const [publisher, { begun, accepted }] of live.get(channel)!) {
      const places = new Map<number, number>()
      let last = 0
      for (const [place, value] of seen.entries()) {
        if (typeof value !== 'string') continue
        const [by, n] = value.split(' ') as [string, string]
        if (by !== publisher) continue
        if (Number(n) <= last) violations.push(`${name} in ${channel}: ${value} came after ${last}`)
        last = Number(n)
        places.set(last, place)
      }
      for (let n = (from.get(publisher) ?? 0) + 1; n <= begun; n++) {
        if (places.has(n) || !accepted.has(n) || (closing && n > last)) continue
        const before = Math.max(-1, ...[...places].filter(([other]) => other < n).map(([, place]) => place))
        const after = Math.min(
          Infinity,
          ...[...places].filter(([other]) => other > n).map(([, place]) => place),
        )
        const isTold = [...gaps].some(
          ([place, known]) => place > before && place < after && (known.get(publisher) ?? 0) >= n,
        )
        if (!isTold)
          violations.push(
            `${name} lost ${publisher} ${n} in ${channel} without a word: ${JSON.stringify(seen)}`,
          )
      }
    }
  }

  const judgeHistory = async () => {
    for (const channel of historyChannels) {
      const { publications } = await network.store.read(
        channel,
        { size: 10_000, ttlMs: 3_600_000 },
        { after: 0, limit: 10_000 },
      )
      const stored = publications.map(({ offset, data }) => ({
        offset,
        value: JSON.parse(textOf(data!)) as string,
      }))
      const values = stored.map(({ value }) => value)
      if (new Set(values).size < values.length)
        violations.push(`stored twice in ${channel}: ${values.join()}`)
      for (const { name, readings } of clients) {
        const own = values
          .filter((value) => value.startsWith(`${name} `))
          .map((value) => Number(value.split(' ')[1]))
        if (own.some((n, i) => n < (own[i - 1] ?? 0)))
          violations.push(`${name} published in ${channel} in another order: ${own.join()}`)
        for (const { channel: read, start, open, closing, seen } of readings) {
          if (read !== channel || !open) continue
          const due = stored.filter(({ offset }) => offset > start!.offset).map(({ value }) => value)
          const wanted = closing ? due.slice(0, seen.length) : due
          if (JSON.stringify(seen) !== JSON.stringify(wanted))
            violations.push(
              `${name} read ${JSON.stringify(seen)} in ${channel}, not ${JSON.stringify(wanted)}`,
            )
        }
      }
      for (const { channel: to, value, outcome } of outcomes) {
        if (to !== channel) continue
        if (outcome === 'ack' && !values.includes(value))
          violations.push(`${value} was acknowledged, and not stored`)
        if (outcome === 'temporary' && values.includes(value))
          violations.push(`${value} was refused as temporary, and is stored in ${channel}`)
      }
    }
  }

  const judgeOperations = () => {
    for (const { kind, channel, value, outcome } of outcomes) {
      const isFine =
        outcome === 'ack' ||
        outcome === 'reply' ||
        (kind === 'slow' && outcome === 'outcome-unknown') ||
        (weather !== 'clean' && (outcome === 'outcome-unknown' || outcome === 'temporary'))
      if (!isFine) violations.push(`${kind} ${value} ${channel} ended with ${outcome}`)
      const calls = world.calls.filter(({ key }) => key === value).length
      if (kind !== 'pub' && (calls > 1 || (outcome === 'reply' && calls === 0)))
        violations.push(`${value} was called ${calls} times: ${outcome}`)
    }
    for (const { name, lost } of clients)
      if (weather === 'clean' && lost.length > 0) violations.push(`${name} lost its session: ${lost.join()}`)
    for (const { recovered } of drained)
      if (weather === 'clean' && recovered) violations.push(`a drain left ${recovered} sessions`)
  }

  try {
    for (let n = 0; n < 3; n++) await world.start(options)
    const baseline = clock.pending
    for (const name of ['ann', 'bob'])
      clients.push(
        createRawClient({
          world,
          name,
          requestLoss: () => requestLoss,
          events: {
            opened: (reading) =>
              isLive(reading.channel) &&
              notes.set(reading, { from: begunOf(reading.channel), gaps: new Map() }),
            live: (reading, value) => {
              if (Array.isArray(value) && isLive(reading.channel))
                notes.get(reading)!.gaps.set(reading.seen.length - 1, begunOf(reading.channel))
            },
          },
        }),
      )
    network.faults =
      weather === 'clean'
        ? { loss: 0, doubled: 0.1, late: 0.1, delayMs: 20, lateMs: 200 }
        : { loss: 0.1, doubled: 0.1, late: 0.1, delayMs: 30, lateMs: 6_000 }
    requestLoss = weather === 'clean' ? 0 : 0.05
    for (const [index, client] of clients.entries()) client.attach(nodeAt(index), 'stream')
    for (const { kind, at, size } of list) {
      if (weather === 'clean') comeBack(at)
      await run[kind](at, size)
      await clock.advance(size % 10 < 4 ? 0 : size % 10 < 8 ? size : size * 10)
      world.check()
    }
    await quiet()
    for (const client of clients)
      for (const reading of client.readings)
        if (isLive(reading.channel) && reading.open) judgeLive(client, reading)
    await judgeHistory()
    judgeOperations()
    for (const client of clients) client.leave()
    if (violations.length > 0) return violations
    // Sessions end after one window, and what is known of them is kept for one more.
    await clock.advance(2 * resumeWindowMs + 40_000)
    world.check()
    for (const { id, cluster, sessions, isCrashed } of world.nodes) {
      if (isCrashed) continue
      if (cluster.pending > 0) violations.push(`${cluster.pending} pending at ${id}`)
      if (sessions.length > 0) violations.push(`${sessions.length} sessions at ${id}`)
    }
    if (clock.pending > baseline) violations.push(`${clock.pending} timers, at first ${baseline}`)
    return violations
  } catch (error) {
    return [...violations, String((error as Error).stack), JSON.stringify(clients.map(stateOf))]
  } finally {
    Math.random = realRandom
  }
}

const stateOf = ({ name, attached, unanswered, readings, lost, refused, style }: RawClient) => ({
  name,
  attached,
  style,
  unanswered,
  readings: readings.map(({ channel, open, closing, again }) => ({ channel, open, closing, again })),
  lost,
  refused: refused.slice(-5),
})

const textOf = (data: string | Uint8Array) =>
  typeof data === 'string' ? data : new TextDecoder().decode(data)
