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
} from '@everwire/core'
import type { Identity } from '../client-session.js'
import type { Metrics } from '../metrics.js'
import type { Sessions } from '../sessions.js'
import type { Departures } from './departures.js'
import { packEncoded, packFrame, unpackEncoded, unpackFrame, type PackedFrame } from './packed.js'

export interface RelayOptions {
  nodeId: string
  nodes: Nodes
  clock: Clock
  sessions: Sessions
  departures: Departures
  metrics: Metrics
  pollWaitMs: number
  maxRelays: number
  maxRelaysPerAddress: number
  /** Settled once a session that is on its way here has come, or is lost. */
  arriving(secret: string): Promise<unknown> | undefined
  /** A poll that came to another node, for a session of this one. */
  accept(link: Link, identity: Identity): LinkHandler
  /** Applies what a client sent up; for a session of this node. */
  apply(secret: string, first: number, frames: readonly Frame[]): Promise<number>
  /** A bound was met. */
  refused(message: string): void
}

interface PollQuestion {
  /** What the asking node calls this poll. */
  id: string
  secret: string
  transport: string
  request: AttachRequest
  identity: Identity
}
interface UplinkQuestion {
  secret: string
  first: number
  frames: PackedFrame[]
}
type Answer<Result> = Result | { moved: string } | { unknown: true } | { code: string; message: string }

const maxHops = 3
const answerMs = 5_000
const comeAgainMs = 100

/** Requests that land on another node than the one that owns their session: sent on, and the answer sent back. */
export class Relay {
  readonly #options: RelayOptions
  /** Requests under way, by owner and by address. */
  readonly #counts = new Map<string, number>()
  /** Polls that other nodes wait for. */
  readonly #held = new Map<string, () => void>()

  constructor(options: RelayOptions) {
    this.#options = options
    const { nodes } = options
    nodes.handle('poll', (body) => this.#polled(body as PollQuestion))
    nodes.handle('unpoll', (body) => this.#held.get(body as string)?.())
    nodes.handle('uplink', (body) => this.#lifted(body as UplinkQuestion))
  }

  /** Requests under way to other nodes. */
  get pending(): number {
    return this.#counts.size
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
      address,
    }: Pick<PollQuestion, 'secret' | 'request' | 'identity'> & { address: string },
    failed: (error: unknown) => void,
  ): () => void {
    const id = randomBase32(16)
    const question: PollQuestion = { id, secret, transport: link.transport, request, identity }
    const waitMs = Math.min(request.waitMs ?? 0, this.#options.pollWaitMs) + answerMs
    let over = false
    this.#follow<{ frames: PackedFrame[] }>('poll', owner, address, question, waitMs)
      .then(({ frames }) => {
        if (over) return
        over = true
        link.send(frames.map(unpackEncoded))
        link.close('link-lost', 'the poll is answered')
      })
      .catch((error: unknown) => {
        if (!over) failed(error)
      })
      .finally(() => (over = true))
    return () => {
      if (over) return
      over = true
      // It may have been sent on meanwhile: whoever holds it hears this.
      this.#options.nodes.tell('unpoll', id)
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
    const question: UplinkQuestion = { secret, first, frames: frames.map(packFrame) }
    return (await this.#follow<{ applied: number }>('uplink', owner, address, question, answerMs)).applied
  }

  close(): void {
    for (const drop of [...this.#held.values()]) drop()
  }

  /** Asks the owner, and whoever has the session after it. */
  async #follow<Result extends object>(
    kind: 'poll' | 'uplink',
    first: string,
    address: string,
    question: { readonly secret: string },
    timeoutMs: number,
  ): Promise<Result> {
    const { nodeId, nodes, departures, metrics } = this.#options
    const leave = this.#enter(first, address)
    try {
      let owner = first
      for (let hop = 0; hop <= maxHops; hop++) {
        if (nodes.isGone(owner)) throw new EverwireError('unknown-session', 'the node that owned it is gone')
        const answer = await this.#ask<Result>(owner, kind, question, timeoutMs)
        if ('moved' in answer) {
          const to = answer.moved === nodeId ? this.#onward(question.secret) : answer.moved
          departures.heard([question.secret, to, 0], owner)
          owner = to
        } else if ('unknown' in answer) throw new EverwireError('unknown-session', 'there is no such session')
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

  /** Where a session went that another node says is here. */
  #onward(secret: string): string {
    const { sessions, arriving, departures } = this.#options
    // The client finds it when it asks again.
    if (sessions.find(secret) || arriving(secret))
      throw new EverwireError('node-unavailable', 'the session came here', { retryAfterMs: comeAgainMs })
    const to = departures.get(secret)?.to
    if (to === undefined) throw new EverwireError('unknown-session', 'it was taken, and lost on the way')
    return to
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
      throw new EverwireError('node-unavailable', 'the node that owns the session does not answer', { cause })
    }
  }

  /** Counts a request, within the bounds. @returns takes it away again */
  #enter(owner: string, address: string): () => void {
    const { maxRelays, maxRelaysPerAddress, refused } = this.#options
    const bounds = [
      [`node ${owner}`, maxRelays],
      [`address ${address}`, maxRelaysPerAddress],
    ] as const
    for (const [name, most] of bounds)
      if ((this.#counts.get(name) ?? 0) >= most) {
        const message = `${most} requests of ${name} are under way to other nodes`
        refused(message)
        throw new EverwireError('rate-limited', message, { retryAfterMs: 1_000 })
      }
    for (const [name] of bounds) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
    return () => {
      for (const [name] of bounds) {
        const left = this.#counts.get(name)! - 1
        if (left > 0) this.#counts.set(name, left)
        else this.#counts.delete(name)
      }
    }
  }

  // The owner.

  #whereabouts(secret: string): { moved: string } | { unknown: true } {
    const to = this.#options.departures.get(secret)?.to
    return to === undefined ? { unknown: true } : { moved: to }
  }

  /** Whether this node has a session, once it is neither on its way here nor away. */
  async #isHere(secret: string): Promise<boolean> {
    const { sessions, arriving } = this.#options
    await arriving(secret)?.catch(() => {})
    await sessions.find(secret)?.leaving
    return sessions.find(secret) !== undefined
  }

  async #polled({
    id,
    secret,
    transport,
    request,
    identity,
  }: PollQuestion): Promise<Answer<{ frames: PackedFrame[] }>> {
    const { clock, pollWaitMs, accept } = this.#options
    if (!(await this.#isHere(secret))) return this.#whereabouts(secret)
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
    const handler = (link.handler = accept(link, identity))
    this.#held.set(id, () => {
      link.lost()
      response.end()
    })
    handler.receive({ header: ['attach', request] })
    await response.ended
    this.#held.delete(id)
    link.lost()
    return { frames: frames.map(packEncoded) }
  }

  async #lifted({ secret, first, frames }: UplinkQuestion): Promise<Answer<{ applied: number }>> {
    if (!(await this.#isHere(secret))) return this.#whereabouts(secret)
    try {
      return { applied: await this.#options.apply(secret, first, frames.map(unpackFrame)) }
    } catch (error) {
      return {
        code: codeOf(error),
        message: error instanceof EverwireError ? error.message : 'the server failed',
      }
    }
  }
}

/** Stands for a response that is not written anywhere. */
function createCollector(): ResponseLike & { ended: Promise<void> } {
  let end = () => {}
  const ended = new Promise<void>((resolve) => (end = resolve))
  return { ended, writableLength: 0, writeHead() {}, write: () => true, end: () => end(), destroy() {} }
}
