import {
  codeInfo,
  createHeartbeat,
  createResponseLink,
  createSession,
  encodeEvents,
  encodeFrame,
  eventStreamType,
  frameCount,
  isSessionKind,
  parseEvents,
  type AttachRequest,
  type Cancel,
  type Clock,
  type EncodedFrame,
  type Frame,
  type Heartbeat,
  type Link,
  type LinkHandler,
  type Session,
  type ServerTransport,
  type ServerTransportContext,
  type Welcome,
} from '@everwire/core'
import { createFakeClock, createLinkPair, type FakeClock, type LinkPair } from '@everwire/testkit'
import Fastify, { type FastifyInstance } from 'fastify'
import type { ServerSession } from '../src/client-session.js'
import { Cluster } from '../src/cluster/cluster.js'
import { everwire, type EverwireOptions } from '../src/index.js'
import { createNodeNetwork, type NodeNetwork } from './node-network.js'

/** A real node on a simulated bus. */
export interface WorldNode {
  readonly id: string
  readonly app: FastifyInstance
  readonly cluster: Cluster
  readonly context: ServerTransportContext
  readonly isUp: boolean
  readonly isCrashed: boolean
  readonly onCrash: (() => void)[]
  readonly sessions: readonly ServerSession[]
  publish(channel: string, data: unknown): Promise<unknown>
  crash(): void
  close(): Promise<void>
}

export interface World {
  readonly clock: FakeClock
  readonly network: NodeNetwork
  readonly nodes: readonly WorldNode[]
  /** What must never be, in words. */
  readonly violations: string[]
  /** Calls of methods: the key that the client gave, and the node. */
  readonly calls: { key: string; node: string }[]
  random(): number
  start(options?: Partial<EverwireOptions>): Promise<WorldNode>
  /** Waits for something that takes time of the clock. */
  elapse(what: PromiseLike<unknown>): Promise<void>
  /** Moves on in small steps until it is so. */
  until(isSo: () => boolean, what: string, maxMs?: number): Promise<void>
  /** Looks at all nodes now. */
  check(): void
  /** At the end of a test. */
  close(): Promise<void>
}

export const resumeWindowMs = 20_000

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let value = Math.imul(state ^ (state >>> 15), state | 1)
    value = (value + Math.imul(value ^ (value >>> 7), value | 61)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Several nodes, one time, and what must hold whatever happens to them.
 * @param closeMs how long a node may go on to answer others once it has closed, as with requests in flight
 */
export function createWorld({ seed = 1, closeMs = 0 }: { seed?: number; closeMs?: number } = {}): World {
  const clock = createFakeClock()
  const random = createRandom(seed)
  const network = createNodeNetwork(clock, random)
  const nodes: WorldNode[] = []
  const violations: string[] = []
  const calls: World['calls'] = []
  /** Sessions that ended or left, and their counters as they were then. */
  const past = new Map<ServerSession, string>()
  const known = new Set<ServerSession>()

  const check = () => {
    const owners = new Map<string, string>()
    const here = new Set<ServerSession>()
    for (const { id, sessions, isUp } of nodes) {
      if (!isUp) continue
      for (const session of sessions) {
        here.add(session)
        const other = owners.get(session.secret)
        if (other !== undefined) violations.push(`two owners: ${other} and ${id}`)
        owners.set(session.secret, id)
      }
    }
    for (const session of known) if (!here.has(session)) past.set(session, countersOf(session))
    known.clear()
    for (const session of here) known.add(session)
    for (const [session, counters] of past)
      if (countersOf(session) !== counters)
        violations.push(`a session that was left went on: ${counters} → ${countersOf(session)}`)
  }
  network.observe = check

  /** Waits for something that takes time. */
  const elapse = async (what: PromiseLike<unknown>) => {
    const over = { isIt: false }
    const end = what.then(() => {
      over.isIt = true
    })
    while (!over.isIt) await Promise.race([clock.advance(stepMs), end])
    await end
  }

  const start = async (options: Partial<EverwireOptions> = {}): Promise<WorldNode> => {
    let isCrashed = false
    let isClosed = false
    const timers = new Set<Cancel>()
    // The timers of a node die with it.
    const ownClock: Clock = {
      now: () => clock.now(),
      after(ms, run) {
        if (isCrashed) return () => {}
        const cancel = clock.after(ms, () => {
          timers.delete(undo)
          run()
        })
        const undo = () => {
          timers.delete(undo)
          cancel()
        }
        timers.add(undo)
        return undo
      },
    }
    let context: ServerTransportContext | undefined
    const memory: ServerTransport<FastifyInstance> = {
      name: 'memory',
      register(_app, given) {
        context = given
      },
    }
    const bus = network.join()
    const app = Fastify({ logger: false })
    // It asks the others before it serves, which takes time of the clock.
    await elapse(
      app.register(everwire, {
        transports: [memory],
        authenticate: ({ token }) => ({ userId: token ?? null }),
        clock: ownClock,
        bus: {
          ...bus,
          nodes: bus.nodes,
          async close() {
            if (closeMs > 0)
              await new Promise<void>((resolve) => void ownClock.after(random() * closeMs, resolve))
            await bus.close()
          },
        },
        resumeWindowMs,
        outboxFrames: 400,
        drainNoticeMs: 0,
        ...options,
      }),
    )
    const own = app.everwire
    const { nodeId: id } = own
    const assertHere = (session: { id: string }, what: string) => {
      if (!isCrashed && !isClosed && own.session(session.id) !== session)
        violations.push(`${what} at ${id}, which the session has left`)
    }
    const publish = (session: { id: string }, channel: string) => {
      assertHere(session, `published in ${channel}`)
      return true
    }
    own.channel('live:*', { subscribe: true, publish })
    own.channel('history:*', { history: { size: 10_000 }, subscribe: true, publish })
    own.method('work', async (session, input) => {
      assertHere(session, 'worked')
      const { key, ms } = input as { key: string; ms: number }
      calls.push({ key, node: id })
      if (ms > 0) await new Promise<void>((resolve) => void ownClock.after(ms, resolve))
      return key
    })
    await elapse(app.ready())
    const node: WorldNode = {
      id,
      app,
      cluster: clusterOf(app),
      context: context!,
      get isUp() {
        return !isCrashed && !isClosed
      },
      get isCrashed() {
        return isCrashed
      },
      onCrash: [],
      get sessions() {
        return own.sessions() as ServerSession[]
      },
      publish: (channel, data) => own.publish(channel, 'n', data),
      crash() {
        isCrashed = true
        for (const cancel of [...timers]) cancel()
        network.crash(id)
        for (const run of node.onCrash) run()
      },
      async close() {
        if (isCrashed || isClosed) return
        await app.close()
        isClosed = true
      },
    }
    nodes.push(node)
    return node
  }

  return {
    clock,
    network,
    nodes,
    violations,
    calls,
    random,
    start,
    elapse,
    check,
    async until(isSo, what, maxMs = 10_000) {
      for (let ms = 0; ; ms += stepMs) {
        await calm(clock)
        if (isSo()) return
        if (ms >= maxMs) throw new Error(`not within ${maxMs} ms: ${what}`)
        await clock.advance(stepMs)
      }
    },
    async close() {
      for (const node of nodes) await elapse(node.close())
      await network.store.close()
    },
  }
}

const stepMs = 10

/** What goes through several turns of the event loop, such as a request without a socket, is done after this. */
export async function calm(clock: FakeClock): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await clock.settle()
}

const countersOf = ({ core }: ServerSession) => `${core.received} applied, ${core.written} written`

/** The plugin keeps it to itself: whoever asks whether a node is ready asks it. */
function clusterOf(app: FastifyInstance): Cluster {
  const isReady = Object.getOwnPropertyDescriptor(Cluster.prototype, 'isReady')!
  let found: Cluster | undefined
  Object.defineProperty(Cluster.prototype, 'isReady', {
    ...isReady,
    get(this: Cluster) {
      found = this
      return isReady.get!.call(this) as boolean
    },
  })
  void app.everwire.ready
  Object.defineProperty(Cluster.prototype, 'isReady', isReady)
  return found!
}

/** `stream` goes both ways; `sse` comes down only, frames up go in requests; `poll` is made of requests. */
export type Style = 'stream' | 'sse' | 'poll'

/** One answer, and how it came. */
interface Operation {
  readonly kind: 'sub' | 'unsub' | 'pub' | 'req'
  readonly channel: string
  readonly header: unknown[]
  readonly data: string | undefined
  readonly done: (outcome: string, header: Frame['header']) => void
}

/** What a client reads. */
export interface Reading {
  readonly channel: string
  /** Where it began, once the server said so; in a live channel undefined. */
  start: { epoch: string; offset: number } | undefined
  /** Answered. */
  open: boolean
  /** Not wanted any more. */
  closing: boolean
  position: { epoch: string; offset: number } | undefined
  /** Last number of each run; undefined: what comes is taken as it is. */
  readonly runs: Map<string, number>
  /** Values in order; a gap as `['gap', reason]`. */
  readonly seen: unknown[]
  /** Subscribing again by position, after the session or the subscription was lost. */
  again: boolean
}

export interface ClientEvents {
  /** A live publication or a gap. */
  live(reading: Reading, value: unknown): void
  /** The subscription is answered for the first time. */
  opened(reading: Reading): void
}

export interface RawClient {
  readonly name: string
  readonly readings: readonly Reading[]
  /** Current attempt is welcomed. */
  readonly attached: boolean
  readonly session: string | undefined
  readonly style: Style | undefined
  readonly node: string | undefined
  readonly unanswered: number
  readonly received: number
  /** Sessions that were lost, by code. */
  readonly lost: string[]
  /** Links that were refused or closed, by code. */
  readonly refused: string[]
  /** Attaches by itself when it has no link. */
  auto: boolean
  attach(node: WorldNode, style?: Style): void
  /** Another attempt, with the earlier one under way. */
  race(node: WorldNode, style?: Style): void
  /** The link breaks. */
  lose(tell?: 'both' | 'client' | 'server' | 'nobody'): void
  /** Both ends find out about links that broke. */
  notice(): void
  subscribe(channel: string): Reading | undefined
  unsubscribe(channel: string): void
  publish(channel: string, data: unknown, id?: string): Promise<string>
  request(input: { key: string; ms: number }): Promise<string>
  /** Attaches no more, and forgets its link. */
  leave(): void
}

interface Attempt {
  readonly gen: number
  readonly style: Style
  readonly node: WorldNode
  /** What the client's session writes to. */
  readonly link: Link
  welcomed: boolean
  secret: string | undefined
  /** Number of the session frame that came last on this link. */
  last: number
  /** Number of the first frame that it took up. */
  sendFrom: number
  over: boolean
  /** The link is broken, and not everybody knows. */
  broken: boolean
  cut(tell?: 'both' | 'client' | 'server' | 'nobody'): void
  /** The client does not listen to it any more. */
  drop(): void
}

export interface ClientOptions {
  world: World
  name: string
  token?: string
  events?: Partial<ClientEvents>
  /** Chance that a request is lost on the way, or its answer. */
  requestLoss?: () => number
  linkDelayMs?: number
}

const attachMs = 3_000
const pollWaitMs = 2_000

/** A client of which every rule stands here, and nothing else: frames by hand, and the numbers of core's session. */
export function createRawClient({
  world,
  name,
  token = name,
  events = {},
  requestLoss = () => 0,
  linkDelayMs = 10,
}: ClientOptions): RawClient {
  const { clock, random, violations } = world
  const lost: string[] = []
  const refused: string[] = []
  const readings: Reading[] = []
  let operations = new Map<number, Operation>()
  /** What the numbers of each session stand for. */
  const contents = new Map<string, Map<number, string>>()
  let session: string | undefined
  let gen = 0
  let current: Attempt | undefined
  let bound: Attempt | undefined
  let cancelAttach: Cancel = () => {}
  let cancelAuto: Cancel = () => {}
  let heartbeat: Heartbeat | undefined
  let hurry = false

  const wrong = (text: string) => violations.push(`${name}: ${text}`)
  const delay = () => random() * linkDelayMs
  const later = (run: () => void) => void clock.after(delay(), run)
  const up = () => world.nodes.filter(({ isUp }) => isUp)
  const anyNode = () => up()[Math.floor(random() * up().length)]!

  const createCore = (): Session => {
    const own: Session = createSession(
      { ackFrames: 5 },
      {
        frame: (frame) => {
          if (own === core) take(frame)
        },
        ended: (code) => {
          if (own === core) lose(code)
        },
      },
    )
    return own
  }
  let core = createCore()

  const lose = (code: string) => {
    lost.push(code)
    if (codeInfo(code).recovery !== 'session' && code !== 'server-closing')
      wrong(`the session ended: ${code}`)
    if (['numbering', 'bad-frame', 'unknown-frame'].includes(code)) wrong(`the session ended with ${code}`)
    const { written } = core
    const before = operations
    heartbeat?.stop()
    current?.drop()
    current = bound = session = undefined
    operations = new Map()
    core = createCore()
    for (const reading of readings) {
      if (reading.closing) continue
      // A live channel has lost what comes until it is read again, which is told then.
      reading.again = reading.open
      subscribeAgain(reading)
    }
    for (const [number, operation] of before) {
      const { kind, channel, header, data } = operation
      if (kind === 'unsub') operation.done('ack', ['ack', number])
      else if (kind === 'sub') continue
      else if (number > written) send(operation)
      else if (kind === 'pub' && channel.startsWith('history'))
        send({ ...operation, header: [...header.slice(0, 4), 1], data })
      else operation.done('outcome-unknown', ['err', number, 'outcome-unknown'])
    }
    attachSoon()
  }

  const send = (operation: Operation) => {
    const number = core.send(encodeFrame(operation.header as unknown as Frame['header'], operation.data))
    operations.set(number, operation)
  }

  const readingOf = (channel: string) => readings.find((one) => one.channel === channel && !one.closing)
  /** The newest, which the server may still serve. */
  const servedReading = (channel: string) => readings.filter((one) => one.channel === channel).at(-1)

  const subscribeAgain = (reading: Reading) => {
    const { channel, position } = reading
    const from = position ? [position.epoch, position.offset] : []
    send({
      kind: 'sub',
      channel,
      header: ['sub', channel, ...from],
      data: undefined,
      done: (outcome, header) => subscribed(reading, outcome, header),
    })
  }

  const subscribed = (reading: Reading, outcome: string, header: Frame['header']) => {
    if (outcome !== 'ack') {
      if (outcome !== 'temporary') wrong(`subscribing to ${reading.channel}: ${outcome}`)
      const own = core
      clock.after(1_000, () => {
        if (own === core && !reading.closing) subscribeAgain(reading)
      })
      if (reading.open) reading.again = true
      return
    }
    const [, , epoch, offset] = header as [string, number, string?, number?]
    const isFirst = !reading.open
    reading.open = true
    reading.runs.clear()
    if (epoch !== undefined) reading.position = { epoch, offset: offset! }
    if (isFirst) {
      reading.start = reading.position
      events.opened?.(reading)
    } else if (epoch === undefined && reading.again) seeLive(reading, ['gap', 'session'])
    reading.again = false
  }

  const seeLive = (reading: Reading, value: unknown) => {
    reading.seen.push(value)
    events.live?.(reading, value)
  }

  /** A frame of the session, each once and in order. */
  const take = ({ header, data }: Frame): unknown => {
    const [kind, field] = header as [string, never]
    if (kind === 'ack' || kind === 'reply' || kind === 'err') {
      const operation = operations.get(field)
      if (!operation) return wrong(`a second answer to ${field as number}: ${JSON.stringify(header)}`)
      operations.delete(field)
      return operation.done(kind === 'err' ? (header[2] as string) : kind, header)
    }
    if (kind === 'req') return undefined
    const reading = servedReading(field)
    if (!reading) return wrong(`${kind} of ${field as string}, which is not read`)
    if (kind === 'unsub') {
      const code = header[2] as string
      if (code !== 'temporary') wrong(`${reading.channel} was taken back: ${code}`)
      if (reading.closing) return undefined
      reading.again = true
      const own = core
      clock.after(1_000, () => own === core && !reading.closing && subscribeAgain(reading))
      return undefined
    }
    // Between a new subscription and its answer comes what the old one still brought.
    if ([...operations.values()].some((one) => one.kind === 'sub' && one.channel === field)) return undefined
    if (kind === 'm') return publication(reading, header, data)
    if (kind !== 'gap') return undefined
    const [, , reason, epoch, offset] = header as [string, string, string, string?, number?]
    if (epoch !== undefined) reading.position = { epoch, offset: offset! }
    reading.runs.clear()
    seeLive(reading, ['gap', reason])
    return undefined
  }

  const publication = (reading: Reading, header: Frame['header'], data: Frame['data']): unknown => {
    const [, channel, event, ...numbers] = header as [string, string, string | null, ...(string | number)[]]
    const value: unknown = data === undefined ? undefined : JSON.parse(textOf(data))
    if (typeof numbers[0] === 'number') {
      const [offset, previous] = numbers as number[]
      const { position } = reading
      if (position!.offset !== previous)
        wrong(`${channel}: after ${position!.offset} came ${offset} (${previous})`)
      reading.position = { ...position!, offset: offset! }
      if (event !== null) reading.seen.push(value)
      return undefined
    }
    const [run, number, previous] = numbers as [string, number, number]
    const last = reading.runs.get(run)
    if (last !== undefined && number <= last)
      return wrong(`${channel}: ${number} of ${run} came after ${last}`)
    if (last !== undefined && previous !== last) seeLive(reading, ['gap', 'bus'])
    reading.runs.set(run, number)
    if (event !== null) seeLive(reading, value)
    return undefined
  }

  // Links.

  const heard = (attempt: Attempt, frame: Frame) => {
    const [kind, field] = frame.header as [string, never]
    if (attempt === bound) heartbeat?.heard()
    if (kind === 'welcome') return void welcomed(attempt, field)
    if (isSessionKind(kind)) {
      const number = attempt.last + 1
      attempt.last += frameCount(frame.header)
      if (attempt.secret !== undefined) sameContent(attempt.secret, number, frame)
    }
    if (kind === 'refuse') {
      refused.push(field)
      return void failed(attempt, field)
    }
    if (attempt === bound && kind === 'drain') {
      session = field
      hurry = true
    }
    if (attempt === bound) core.receive(attempt.link, frame)
  }

  /** A number never changes its meaning, whichever node says it; but it may be taken back. */
  const sameContent = (secret: string, number: number, { header, data }: Frame) => {
    if (header[0] === 'void') return
    const text = `${JSON.stringify(header)} ${data === undefined ? '' : textOf(data)}`
    const content = contents.get(secret) ?? new Map<number, string>()
    contents.set(secret, content)
    const before = content.get(number)
    if (before !== undefined && before !== text) wrong(`frame ${number} was ${before}, and is ${text}`)
    content.set(number, text)
  }

  const welcomed = (attempt: Attempt, welcome: Welcome) => {
    // Also of one that was given up: what it still brings is counted from here.
    attempt.last = welcome.from - 1
    // The one that carries the session goes on, poll by poll, while the next is under way.
    if (attempt !== current && attempt !== bound) return attempt.cut('both')
    // The id may change, the secret never does.
    attempt.secret ??= welcome.session.split('.')[1]
    if (attempt.welcomed) {
      core.renumber(attempt.link, welcome.from)
      return core.acknowledge(welcome.applied)
    }
    attempt.welcomed = true
    attempt.sendFrom = welcome.applied + 1
    cancelAttach()
    const old = bound
    bound = attempt
    session = welcome.session
    if (old && old !== attempt) old.drop()
    core.acknowledge(welcome.applied)
    heartbeat?.stop()
    // A poll that is not answered in time tells enough.
    if (attempt.style !== 'poll')
      heartbeat = createHeartbeat({
        clock,
        heartbeatMs: 4_000,
        ping: () => core.ping(),
        dead() {
          attempt.cut('nobody')
          failed(attempt, 'heartbeat-timeout')
        },
      })
    if (bound === attempt) core.bind(attempt.link, { receiveFrom: welcome.from, sendFrom: attempt.sendFrom })
  }

  const failed = (attempt: Attempt, code: string) => {
    if (attempt.over) return
    attempt.over = true
    core.unbind(attempt.link)
    if (attempt !== current && attempt !== bound) return
    if (bound === attempt) {
      heartbeat?.stop()
      bound = undefined
    }
    if (current === attempt) current = bound
    const { recovery } = codeInfo(code)
    if (recovery === 'session') return lose(code)
    if (recovery !== 'retry') wrong(`a link ended with ${code}`)
    attachSoon()
  }

  const attachSoon = () => {
    cancelAuto()
    const waitMs = hurry ? 0 : 50 + random() * 400
    hurry = false
    cancelAuto = clock.after(waitMs, () => {
      if (client.auto && !current && up().length > 0) client.attach(anyNode(), styleOf(random()))
    })
  }

  const request = (attempt: Attempt, poll?: { poll: number; waitMs: number }): AttachRequest => ({
    v: 1,
    ...(session === undefined ? {} : { session }),
    gen: attempt.gen,
    place: `${name}-${attempt.gen}`,
    poll: 0,
    cursor: core.received,
    acked: core.acked,
    token,
    ...poll,
  })

  const attach = (node: WorldNode, style: Style) => {
    cancelAttach()
    const attempt = style === 'poll' ? openPolls(node) : openStream(node, style)
    current = attempt
    cancelAttach = clock.after(attachMs, () => {
      if (attempt.welcomed) return
      attempt.cut('both')
      failed(attempt, 'link-lost')
    })
  }

  const openStream = (node: WorldNode, style: 'stream' | 'sse'): Attempt => {
    const pair: LinkPair = createLinkPair({ transport: style, schedule: later })
    const uplink = createUplink(() => attempt)
    const attempt: Attempt = {
      gen: ++gen,
      style,
      node,
      link: style === 'stream' ? pair.client : oneWay(style, uplink.push),
      welcomed: false,
      secret: undefined,
      sendFrom: 0,
      broken: false,
      last: 0,
      over: false,
      cut: (tell) => pair.cut({ tell: tell ?? 'both' }),
      drop() {
        attempt.over = true
        pair.client.close('superseded')
      },
    }
    node.onCrash.push(() => pair.cut())
    pair.server.listen(node.context.accept(pair.server, { request: { ip: '10.0.0.1' } }))
    pair.client.listen({
      receive: (frame) => heard(attempt, frame),
      drained: () => core.drained(attempt.link),
      closed: (code) => failed(attempt, code),
    })
    pair.client.send([encodeFrame(['attach', request(attempt)])])
    if (!node.isUp) pair.cut()
    return attempt
  }

  const openPolls = (first: WorldNode): Attempt => {
    const uplink = createUplink(() => attempt)
    const waiting = new Set<(told: boolean, waits?: boolean) => void>()
    let poll = 0
    const attempt: Attempt = {
      gen: ++gen,
      style: 'poll',
      node: first,
      link: oneWay('poll', uplink.push),
      welcomed: false,
      secret: undefined,
      sendFrom: 0,
      broken: false,
      last: 0,
      over: false,
      cut(tell = 'both') {
        const isClientTold = tell === 'both' || tell === 'client'
        for (const lostHere of [...waiting]) lostHere(tell === 'both' || tell === 'server', !isClientTold)
        if (isClientTold) later(() => failed(attempt, 'link-lost'))
      },
      drop() {
        attempt.over = true
        for (const lostHere of [...waiting]) lostHere(true)
      },
    }
    const ask = (node: WorldNode) => {
      const number = poll++
      const body = request(attempt, { poll: number, waitMs: number === 0 ? 0 : pollWaitMs })
      const isLost = random() < requestLoss()
      attempt.broken ||= isLost
      let isOver = false
      const cancelWait = clock.after(pollWaitMs + 8_000, () => {
        waiting.delete(lostHere)
        isOver = true
        failed(attempt, 'link-lost')
      })
      const lostHere = (told: boolean, waits = false) => {
        isOver = true
        if (!waits) {
          waiting.delete(lostHere)
          cancelWait()
        }
        if (told) later(() => link?.lost())
      }
      let link: ReturnType<typeof createResponseLink> | undefined
      waiting.add(lostHere)
      later(() => {
        if (isOver || isLost) return
        if (!node.isUp) {
          lostHere(false)
          return failed(attempt, 'link-lost')
        }
        const chunks: string[] = []
        const answered = () => {
          link?.lost()
          const isAnswerLost = random() < requestLoss() || node.isCrashed
          attempt.broken ||= isAnswerLost
          later(() => {
            if (isOver || isAnswerLost) return
            lostHere(false)
            for (const frame of parseEvents(chunks.join(''), { maxBytes: 65_536 })) heard(attempt, frame)
            if (attempt.over) return
            if (attempt !== bound) failed(attempt, 'link-lost')
            else if (waiting.size === 0) ask(anyNode())
          })
        }
        link = createResponseLink({
          transport: 'poll',
          headers: {},
          highWaterBytes: 262_144,
          clock: node.context.clock,
          poll: { waitMs: body.waitMs! },
          response: {
            writableLength: 0,
            writeHead() {},
            write: (chunk) => chunks.push(chunk as string) > 0,
            end: () => queueMicrotask(answered),
            destroy() {},
          },
        })
        const handler: LinkHandler = (link.handler = node.context.accept(link, {
          request: { ip: '10.0.0.1' },
        }))
        handler.receive({ header: ['attach', body] })
      })
      // A second one answers the first at once.
      if (number > 0 && random() < 0.1 && up().length > 0)
        clock.after(50, () => {
          if (!attempt.over && attempt === bound && waiting.size > 0) ask(anyNode())
        })
    }
    queueMicrotask(() => ask(first))
    return attempt
  }

  /** What goes up in requests of its own, one at a time, to whatever node. */
  const createUplink = (attemptOf: () => Attempt) => {
    let frames: { frame: EncodedFrame; number: number | undefined }[] = []
    let next: number | undefined
    let busy = false
    const pump = () => {
      const attempt = attemptOf()
      if (busy || frames.length === 0 || attempt.over || bound !== attempt || up().length === 0) return
      busy = true
      const own = core
      const batch = frames.slice(0, 20)
      frames = frames.slice(20)
      const first = batch.find(({ number }) => number !== undefined)?.number ?? next!
      const last = batch.reduce<number | undefined>((most, { number }) => number ?? most, undefined)
      const body = encodeEvents([
        encodeFrame(['uplink', { session, first }]),
        ...batch.map(({ frame }) => frame),
      ])
      const node = anyNode()
      let isOver = false
      const fail = (code: string) => {
        if (isOver) return
        isOver = true
        if (core === own) failed(attempt, code)
      }
      const cancel = clock.after(8_000, () => fail('link-lost'))
      const isLost = random() < requestLoss()
      const isAnswerLost = random() < requestLoss()
      later(() => {
        if (isLost) return
        if (!node.isUp) {
          cancel()
          return fail('link-lost')
        }
        void node.app
          .inject({
            method: 'POST',
            url: '/everwire/uplink',
            headers: { 'content-type': eventStreamType },
            payload: body,
          })
          .then(({ payload, statusCode }) => {
            if (isAnswerLost || node.isCrashed) return
            later(() => {
              if (isOver || core !== own) return cancel()
              cancel()
              const frame = parseEvents(payload, { maxBytes: 65_536 })[0]
              if (!frame) return fail('link-lost')
              const [kind, field] = frame.header as [string, never]
              if (statusCode !== 200 || kind !== 'seen') {
                refused.push(field)
                return fail(field)
              }
              isOver = true
              busy = false
              core.acknowledge(field)
              if (last !== undefined && (field as number) < last) return void failed(attempt, 'link-lost')
              pump()
            })
          })
          // It has just closed.
          .catch(() => later(() => fail('link-lost')))
      })
    }
    return {
      push(given: readonly EncodedFrame[]) {
        for (const frame of given) {
          const isCounted = isSessionKind(frame.kind)
          next ??= attemptOf().sendFrom
          frames.push({ frame, number: isCounted ? next : undefined })
          if (isCounted) next += frame.kind === 'void' ? (JSON.parse(frame.head) as number[])[1]! : 1
        }
        queueMicrotask(pump)
        return true
      },
    }
  }

  const client: RawClient = {
    name,
    readings,
    lost,
    refused,
    auto: true,
    get attached() {
      return bound !== undefined && bound === current && !bound.over
    },
    get session() {
      return session
    },
    get style() {
      return bound?.style
    },
    get node() {
      return bound?.node.id
    },
    get unanswered() {
      return operations.size
    },
    get received() {
      return core.received
    },
    attach(node, style = 'stream') {
      const before = current
      attach(node, style)
      // The client gives the one up that has no welcome yet; what it sent may still arrive.
      if (before && !before.welcomed) before.over = true
    },
    race(node, style = 'stream') {
      attach(node, style)
    },
    lose(tell = 'both') {
      if (!current) return
      current.broken = true
      current.cut(tell)
    },
    notice() {
      for (const attempt of new Set([current, bound])) if (attempt?.broken) attempt.cut('both')
    },
    subscribe(channel) {
      if (readingOf(channel)) return undefined
      const reading: Reading = {
        channel,
        start: undefined,
        open: false,
        closing: false,
        position: undefined,
        runs: new Map(),
        seen: [],
        again: false,
      }
      readings.push(reading)
      subscribeAgain(reading)
      return reading
    },
    unsubscribe(channel) {
      const reading = readingOf(channel)
      if (!reading?.open) return
      reading.closing = true
      send({
        kind: 'unsub',
        channel,
        header: ['unsub', channel],
        data: undefined,
        done: (outcome) => {
          if (outcome !== 'ack') wrong(`unsub ${channel}: ${outcome}`)
        },
      })
    },
    publish: (channel, data, id) =>
      new Promise((resolve) => {
        send({
          kind: 'pub',
          channel,
          header: ['pub', channel, 'n', ...(id === undefined ? [] : [id])],
          data: JSON.stringify(data),
          done: resolve,
        })
      }),
    request: (input) =>
      new Promise((resolve) => {
        send({
          kind: 'req',
          channel: '',
          header: ['req', 'work'],
          data: JSON.stringify(input),
          done: resolve,
        })
      }),
    leave() {
      client.auto = false
      cancelAuto()
      cancelAttach()
      heartbeat?.stop()
      current?.drop()
      bound?.drop()
      current = bound = undefined
    },
  }
  return client
}

const styleOf = (value: number): Style => (value < 0.4 ? 'stream' : value < 0.65 ? 'sse' : 'poll')

const oneWay = (transport: string, send: Link['send']): Link => ({
  transport,
  bufferedBytes: 0,
  send,
  close() {},
})

const textOf = (data: string | Uint8Array) =>
  typeof data === 'string' ? data : new TextDecoder().decode(data)
