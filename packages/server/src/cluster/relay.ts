import {
  codeOf,
  createResponseLink,
  EverwireError,
  randomBase32,
  type AttachRequest,
  type Clock,
  type EncodedFrame,
  type Frame,
  type Link,
  type LinkHandler,
  type Nodes,
  type ResponseLike,
  type TransportOffer,
} from '@everwire/core'
import type { Identity, ServerSession } from '../client-session.js'
import type { Metrics } from '../metrics.js'
import type { Sessions } from '../sessions.js'
import type { Bounds } from './bounds.js'
import { maxHops, untilVerdict, type Departures } from './departures.js'
import type { Handover } from './handover.js'
import type { NotHere } from './handover-messages.js'
import {
  packEncoded,
  packFrame,
  prefixThatFits,
  unpackEncoded,
  unpackFrame,
  type PackedFrame,
} from './packed.js'

export interface RelayOptions {
  nodeId: string
  nodes: Nodes
  clock: Clock
  sessions: Sessions
  departures: Departures
  metrics: Metrics
  pollWaitMs: number
  bounds: Bounds
  handover: Handover
  /** A poll that came to another node, for a session of this one. */
  accept(link: Link, identity: Identity, offers: TransportOffer[] | undefined): LinkHandler
  /** Applies what a client sent up; for a session of this node. */
  apply(session: ServerSession, first: number, frames: readonly Frame[]): number
}

interface PollQuestion {
  /** What the asking node calls this poll. */
  id: string
  secret: string
  transport: string
  request: AttachRequest
  identity: Identity
  /** What the client is offered; missing where an older node asks. */
  offers?: TransportOffer[]
}
interface UplinkQuestion {
  secret: string
  first: number
  frames: PackedFrame[]
}
/** Who is asked now, and whether whoever asked has gone. */
interface Asked {
  node: string
  isOver: boolean
}
type Answer<Result> = Result | NotHere | { code: string; message: string }

const answerMs = 5_000
const comeAgainMs = 100

/** Requests that land on another node than the one that owns their session: sent on, and the answer sent back. */
export class Relay {
  readonly #options: RelayOptions
  /** Polls that other nodes hold: ends them, with an error. */
  readonly #waiting = new Set<(error: unknown) => void>()
  /** Polls that other nodes wait for. */
  readonly #held = new Map<string, () => void>()

  constructor(options: RelayOptions) {
    this.#options = options
    const { nodes } = options
    nodes.handle('poll', (body) => this.#polled(body as PollQuestion))
    nodes.handle('unpoll', (body) => this.#held.get(body as string)?.())
    nodes.handle('uplink', (body) => this.#lifted(body as UplinkQuestion))
  }

  /** Polls held here for other nodes. */
  get held(): number {
    return this.#held.size
  }

  /**
   * Sends a poll on, and its answer back over the link.
   * @returns tells the owner that nobody waits any more
   */
  poll(
    link: Link,
    owner: string,
    {
      secret,
      request,
      identity,
      offers,
      address,
    }: Pick<PollQuestion, 'secret' | 'request' | 'identity' | 'offers'> & { address: string },
    failed: (error: unknown) => void,
  ): () => void {
    const id = randomBase32(16)
    // Who it is, is known here: the token stays.
    const question: PollQuestion = {
      id,
      secret,
      transport: link.transport,
      request: claimOf(request),
      identity,
      ...(offers ? { offers } : {}),
    }
    const waitMs = Math.min(request.waitMs ?? 0, this.#options.pollWaitMs) + answerMs
    const asked: Asked = { node: owner, isOver: false }
    const end = (error: unknown) => {
      if (this.#waiting.delete(end)) failed(error)
    }
    this.#waiting.add(end)
    this.#follow<{ frames: PackedFrame[] }>('poll', asked, address, question, waitMs).then(({ frames }) => {
      if (!this.#waiting.delete(end)) return
      link.send(frames.map(unpackEncoded))
      link.close('link-lost', 'the poll is answered')
    }, end)
    return () => {
      if (!this.#waiting.delete(end)) return
      asked.isOver = true
      this.#options.nodes.tell('unpoll', id, asked.node)
    }
  }

  /** Sends frames on. @returns how many of the client's frames are applied */
  async uplink(
    owner: string,
    {
      secret,
      first,
      frames,
      address,
    }: { secret: string; first: number; frames: readonly Frame[]; address: string },
  ): Promise<number> {
    const packed = frames.map(packFrame)
    const part = prefixThatFits(packed, this.#options.nodes.maxBytes)
    if (part.length === 0 && packed.length > 0)
      throw new EverwireError('frame-too-large', 'the frame is larger than what nodes can send each other')
    const question: UplinkQuestion = { secret, first, frames: part }
    const asked: Asked = { node: owner, isOver: false }
    return (await this.#follow<{ applied: number }>('uplink', asked, address, question, answerMs)).applied
  }

  close(): void {
    for (const drop of [...this.#held.values()]) drop()
    const closing = new EverwireError('server-closing', 'the server is closing', {
      retryAfterMs: comeAgainMs,
    })
    for (const end of [...this.#waiting]) end(closing)
  }

  /** Asks the owner, and whoever has the session after it. */
  async #follow<Result extends object>(
    kind: 'poll' | 'uplink',
    asked: Asked,
    address: string,
    question: { readonly secret: string },
    timeoutMs: number,
  ): Promise<Result> {
    const { nodeId, nodes, departures, metrics, bounds } = this.#options
    const { secret } = question
    const leave = bounds.enter(asked.node, address)
    try {
      for (let hop = 0; hop <= maxHops; hop++) {
        const owner = asked.node
        this.#assertAway(secret)
        const answer = nodes.isGone(owner)
          ? departures.lastWord(secret, owner)
          : await this.#ask<Result>(owner, kind, question, timeoutMs)
        // What others say of a session that came here meanwhile is old.
        if ('moved' in answer || 'unknown' in answer) this.#assertAway(secret)
        if ('moved' in answer) {
          if (asked.isOver) throw comeAgain('nobody waits any more')
          const to = answer.moved === nodeId ? this.#onward(secret) : answer.moved
          departures.heard([secret, to, 0], owner)
          asked.node = to
        } else if ('unknown' in answer) throw new EverwireError('unknown-session', 'there is no such session')
        else if ('retryMs' in answer || 'stale' in answer) throw comeAgain('the session is on its way')
        else if ('code' in answer) throw new EverwireError(answer.code as 'internal', answer.message)
        else {
          metrics.relays.inc({ kind, result: 'ok' })
          return answer as Result
        }
      }
      throw new EverwireError('unknown-session', 'the session was followed too far')
    } catch (error) {
      metrics.relays.inc({ kind, result: 'failed' })
      throw error
    } finally {
      leave()
    }
  }

  /** @throws EverwireError `node-unavailable` when a session is here, or on its way: the client finds it when it asks again */
  #assertAway(secret: string): void {
    const { sessions, handover } = this.#options
    if (sessions.find(secret) || 'retryMs' in handover.whereabouts(secret))
      throw comeAgain('the session came here')
  }

  /** Where a session went that another node says is here. */
  #onward(secret: string): string {
    const { handover, nodeId } = this.#options
    const where = handover.whereabouts(secret)
    if ('moved' in where && where.moved !== nodeId) return where.moved
    throw new EverwireError('unknown-session', 'it was taken, and lost on the way')
  }

  async #ask<Result>(
    owner: string,
    kind: string,
    question: unknown,
    timeoutMs: number,
  ): Promise<Answer<Result> & object> {
    try {
      return (await this.#options.nodes.request(owner, kind, question, timeoutMs)) as Answer<Result> & object
    } catch (cause) {
      // Silence is a suspicion: until the node is known to be dead, the client asks again.
      const retryAfterMs = untilVerdict(this.#options.nodes, owner)
      throw new EverwireError('node-unavailable', 'the node that owns the session does not answer', {
        cause,
        retryAfterMs,
      })
    }
  }

  // The owner.

  async #polled({
    id,
    secret,
    transport,
    request,
    identity,
    offers,
  }: PollQuestion): Promise<Answer<{ frames: PackedFrame[] }>> {
    const { clock, pollWaitMs, accept, handover, nodes } = this.#options
    // That nobody waits any more may be told before this goes on.
    let isOver = false
    this.#held.set(id, () => (isOver = true))
    const session = await handover.arrived(secret)
    if (isOver || !session) {
      this.#held.delete(id)
      return isOver ? { frames: [] } : handover.whereabouts(secret)
    }
    const frames: EncodedFrame[] = []
    const response = createCollector()
    const link = createResponseLink({
      transport,
      response,
      headers: {},
      highWaterBytes: Number.POSITIVE_INFINITY,
      clock,
      encode: (frame) => {
        frames.push(frame)
        return ''
      },
      poll: { waitMs: Math.min(request.waitMs ?? 0, pollWaitMs) },
    })
    const handler = (link.handler = accept(link, identity, offers))
    this.#held.set(id, () => {
      link.lost()
      response.end()
    })
    handler.receive({ header: ['attach', request] })
    await response.ended
    this.#held.delete(id)
    link.lost()
    // What does not fit is sent again: the client's next poll says what it has.
    return { frames: prefixThatFits(frames.map(packEncoded), nodes.maxBytes) }
  }

  async #lifted({ secret, first, frames }: UplinkQuestion): Promise<Answer<{ applied: number }>> {
    const { handover, apply } = this.#options
    const session = await handover.arrived(secret)
    if (!session) return handover.whereabouts(secret)
    try {
      return { applied: apply(session, first, frames.map(unpackFrame)) }
    } catch (error) {
      return {
        code: codeOf(error),
        message: error instanceof EverwireError ? error.message : 'the server failed',
      }
    }
  }
}

/** What of an attach another node may see. */
const claimOf = ({ v, session, gen, place, poll, waitMs, cursor, acked }: AttachRequest): AttachRequest => ({
  v,
  gen,
  place,
  poll,
  cursor,
  acked,
  ...(session === undefined ? {} : { session }),
  ...(waitMs === undefined ? {} : { waitMs }),
})

const comeAgain = (message: string) =>
  new EverwireError('node-unavailable', message, { retryAfterMs: comeAgainMs })

/** Stands for a response that is not written anywhere. */
function createCollector(): ResponseLike & { ended: Promise<void> } {
  let end = () => {}
  const ended = new Promise<void>((resolve) => (end = resolve))
  return { ended, writableLength: 0, writeHead() {}, write: () => true, end: () => end(), destroy() {} }
}
