import {
  encodeData,
  encodeFrame,
  decodeData,
  EverwireError,
  fromBase64,
  type Clock,
  type ErrorCode,
  type Frame,
  type GapReason,
  type Position,
} from '@everwire/core'
import { createEmitter, type Off } from './emitter.js'
import { publicationFrames, type Operations } from './operations.js'

/** What stands beside a publication. */
export interface PublicationMeta {
  channel: string
  event: string
  /** Channels with history only. */
  position?: Position
  /** Who published, where the channel shows it. */
  userId?: string
}

export interface Gap {
  reason: GapReason
  /** Where the channel goes on; channels with history only. */
  position?: Position
}

export interface PublishOptions {
  /** Recognises a repeated publication, for two minutes, across sessions and reloads. @default a random one */
  id?: string
  /** How long it may wait and be retried. @default 30000 */
  timeoutMs?: number
}

export interface HistoryPage {
  publications: { data: unknown; meta: PublicationMeta }[]
  /** There are older ones. */
  more: boolean
}

/** What a channel needs of its client. */
export interface ChannelHost {
  readonly clock: Clock
  readonly operations: Operations
  readonly publishTimeoutMs: number
  /** There is a session to ask. */
  readonly ready: boolean
  /** Opens the connection if it is not. */
  connect(): void
  request(method: string, input: unknown): Promise<unknown>
  nextId(): string
}

type Listener = (data: unknown, meta: PublicationMeta) => void

interface ChannelEvents {
  gap: (gap: Gap) => void
  /** The server has accepted: the first time, and again in each new session. */
  subscribed: () => void
  /** The server took the subscription back. */
  unsubscribed: (info: { code: ErrorCode }) => void
}

/** A named stream of publications. Asked for the same name, the client gives the same object. */
export interface Channel {
  readonly name: string
  readonly subscribed: boolean
  /** Where the channel stands; channels with history only, once subscribed. */
  readonly position: Position | undefined
  /** Hears an event of the channel, every one (`*`), a `gap`, `subscribed`, or `unsubscribed`. Returns its own undo. */
  on<Name extends keyof ChannelEvents>(event: Name, listener: ChannelEvents[Name]): Off
  on(event: string, listener: Listener): Off
  /**
   * Reads the channel from now on, or after a position kept from earlier, and goes on reading it, over reconnects and
   * new sessions, until `unsubscribe`. Resolves when the server has accepted; rejects with its refusal.
   */
  subscribe(options?: { position?: Position }): Promise<void>
  /** Reads the channel no more. Resolves when the server knows. */
  unsubscribe(): Promise<void>
  /**
   * Publishes. Resolves when the server has accepted, with the position in channels with history; a retry is stored
   * once. Rejects with an EverwireError: the server's refusal, `queue-full`, `timeout` when it was never sent, or
   * `outcome-unknown` when it may have happened.
   */
  publish(event: string, data?: unknown, options?: PublishOptions): Promise<Partial<Position>>
  /** Publications before a position's offset (default: the newest), oldest first. */
  history(options?: { before?: number; limit?: number }): Promise<HistoryPage>
}

/** What the client tells its channel. */
export interface ChannelEnd extends Channel {
  /** A new session began. */
  begin(): void
  /** The session is lost. */
  lost(): void
  /** The next one is another user's, for whom positions mean something else. */
  forget(): void
  /** The client is closed. */
  close(error: EverwireError): void
  /** A frame of this channel came. */
  receive(frame: Frame): void
}

/** How long a subscription that failed for a passing reason waits. */
const retrySubscribeMs = 1_000
/** Publisher runs remembered over sessions; a run is one life of one node. */
const maxRuns = 256

export function createChannel(name: string, host: ChannelHost): ChannelEnd {
  // Listeners of publications stand under `:event`, so that no event is taken for a gap.
  const events = createEmitter<Record<string, (...args: never[]) => void>>()
  const emit = events.emit as (name: string, ...args: unknown[]) => void
  /** Publisher runs, and the number of the last publication of each. */
  const runs = new Map<string, number>()
  /** Runs whose next publication must follow on the last; not those of earlier sessions, which stand in `runs` still:
   * what a node was late with must not come twice. */
  const chained = new Set<string>()
  let wanted = false
  let subscribed = false
  /** It was subscribed in an earlier session, whose live publications are lost. */
  let interrupted = false
  let position: Position | undefined
  /** Told apart by identity: the answer of an attempt that was overtaken means nothing. */
  let attempt: object | undefined
  let waiting: ((error?: EverwireError) => void)[] = []

  const settle = (error?: EverwireError) => {
    const settled = waiting
    waiting = []
    for (const done of settled) done(error)
  }

  const gap = (reason: GapReason, to?: Position) => {
    if (to) position = to
    emit('gap', { reason, ...(to && { position: to }) })
  }

  const ask = () => {
    if (!wanted || !host.ready) return
    const own = (attempt = {})
    const from = position ? [position.epoch, position.offset] : []
    // A subscription is wanted until it is refused: it has no time limit, and a new session asks anew. Its answer is
    // heard at once: the frames that follow it are of the subscription already.
    const options = { timeoutMs: 2 ** 31 - 1, perSession: true }
    host.operations.start(encodeFrame(['sub', name, ...from]), options, (error, answer) => {
      if (attempt !== own) return
      if (error) return refused(error)
      subscribed = true
      const at = positionOf(answer!, 2)
      if (at) position = at
      if (interrupted && !from.length) gap('session', at)
      interrupted = false
      settle()
      emit('subscribed')
    })
  }

  /** Asks again later, unless the channel was asked for, or given up, meanwhile. */
  const retry = (afterMs = retrySubscribeMs) => {
    const own = attempt
    host.clock.after(Math.max(afterMs, retrySubscribeMs), () => {
      if (attempt === own && !subscribed) ask()
    })
  }

  const refused = (error: EverwireError) => {
    const { code } = error
    // Lost with its session: the next one asks again. But a server may say so too.
    if (code === 'outcome-unknown') return host.ready ? retry() : undefined
    if (code === 'temporary') return retry(error.retryAfterMs)
    const heard = waiting.length > 0
    stop(error)
    if (!heard) emit('unsubscribed', { code })
  }

  const revoked = (code: ErrorCode = 'forbidden') => {
    subscribed = false
    if (code === 'temporary') {
      interrupted = true
      interrupt()
      return retry()
    }
    stop(new EverwireError(code))
    emit('unsubscribed', { code })
  }

  const stop = (error: EverwireError) => {
    wanted = subscribed = interrupted = false
    attempt = position = undefined
    runs.clear()
    chained.clear()
    settle(error)
  }

  /** The chains of the runs end here: what comes next is told by a gap, not by them. */
  const interrupt = () => {
    chained.clear()
    for (const run of runs.keys()) if (runs.size > maxRuns) runs.delete(run)
  }

  const publication = (frame: Frame) => {
    const [, , event, ...fields] = frame.header
    const run = typeof fields[0] === 'string' ? (fields.shift() as string) : undefined
    const [number, previous, extra] = fields as [number, number, { userId?: string }?]
    const last = run === undefined ? position?.offset : runs.get(run)
    if (number <= (last ?? 0)) return
    // The chain is checked end to end: whatever broke it on the way, the loss is found here.
    if (previous !== last && (run === undefined ? position : chained.has(run))) {
      if (run === undefined) {
        // Something between two publications did not come: asks again from the last that did.
        subscribed = false
        return ask()
      }
      gap('bus')
    }
    if (run === undefined) position = { epoch: position!.epoch, offset: number }
    else {
      // The latest stand last.
      if (!chained.has(run)) runs.delete(run)
      chained.add(run)
      runs.set(run, number)
    }
    // A publication that is not for this session moves the position only.
    if (typeof event !== 'string') return
    const meta: PublicationMeta = { channel: name, event }
    if (run === undefined) meta.position = position!
    if (extra?.userId !== undefined) meta.userId = extra.userId
    let data: unknown
    try {
      data = decodeData(frame)
    } catch {
      // What another publisher put on the bus is not JSON: it is shown as it came.
      data = frame.data
    }
    emit(`:${event}`, data, meta)
    emit('*', data, meta)
  }

  return {
    name,
    get subscribed() {
      return subscribed
    },
    get position() {
      return position
    },
    on: (event: string, listener: (...args: never[]) => void) =>
      events.on(['gap', 'subscribed', 'unsubscribed', '*'].includes(event) ? event : `:${event}`, listener),
    subscribe: ({ position: from } = {}) =>
      new Promise((resolve, reject) => {
        const { closed } = host.operations
        if (closed) return reject(closed)
        if (subscribed) return resolve()
        waiting.push((error) => (error ? reject(error) : resolve()))
        host.connect()
        if (wanted) return
        wanted = true
        position = from
        ask()
      }),
    async unsubscribe() {
      if (!wanted) return
      stop(new EverwireError('closed', 'unsubscribed'))
      if (!host.ready) return
      const options = { timeoutMs: host.publishTimeoutMs, perSession: true }
      await host.operations.run(encodeFrame(['unsub', name]), options).catch((error: EverwireError) => {
        // With its session the subscription is gone too.
        if (error.code !== 'outcome-unknown') throw error
      })
    },
    async publish(event, data, { id = host.nextId(), timeoutMs = host.publishTimeoutMs } = {}) {
      const { first, again } = publicationFrames(name, event, id, encodeData(data))
      host.connect()
      return positionOf(await host.operations.run(first, { again, timeoutMs }), 2) ?? {}
    },
    async history({ before, limit } = {}) {
      const page = (await host.request('everwire:history', { channel: name, before, limit })) as {
        epoch: string
        more: boolean
        publications: { offset: number; event: string; userId?: string; data?: unknown; binary?: string }[]
      }
      const publications = page.publications.map(({ offset, event, userId, data, binary }) => ({
        data: binary === undefined ? data : fromBase64(binary),
        meta: {
          channel: name,
          event,
          position: { epoch: page.epoch, offset },
          ...(userId !== undefined && { userId }),
        },
      }))
      return { publications, more: page.more }
    },
    begin: ask,
    lost() {
      interrupted ||= subscribed
      subscribed = false
      attempt = undefined
      interrupt()
    },
    forget() {
      position = undefined
      runs.clear()
    },
    close: stop,
    receive(frame) {
      if (!subscribed) return
      const [kind, , field] = frame.header
      if (kind === 'm') publication(frame)
      if (kind === 'gap') gap(field as GapReason, positionOf(frame, 3))
      if (kind === 'unsub') revoked((field ?? undefined) as ErrorCode | undefined)
    },
  }
}

function positionOf({ header }: Frame, at: number): Position | undefined {
  const [epoch, offset] = header.slice(at)
  return typeof epoch === 'string' && typeof offset === 'number' ? { epoch, offset } : undefined
}
