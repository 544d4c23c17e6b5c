import {
  codeOf,
  decodeData,
  encodeData,
  encodeFrame,
  EverwireError,
  neverAttached,
  randomBase32,
  createOwnerSession,
  type AttachState,
  type EncodedFrame,
  type ErrorCode,
  type Frame,
  type Heartbeat,
  type Link,
  type OutboxBudget,
  type OwnerSession,
  type SessionState,
} from '@everwire/core'
import type { Reader } from './channels/entry.js'
import { Lanes } from './lanes.js'
import { isPromise } from './time-limit.js'

/** Who a client is, as `authenticate` says. */
export interface Identity {
  /** Stable id of the user; null for anonymous ones, who have no channel of their own. */
  userId: string | null
  /** Whatever the hooks need to decide; the same shape at every attach. */
  claims?: unknown
  /** When the token ends, in milliseconds since 1970. */
  expiresAt?: number
}

/** One client's conversation, as hooks and methods see it. It outlives its links. */
export interface ClientSession {
  /** Public id: fit for logs and for `except`, tells nothing about the secret. */
  readonly id: string
  readonly userId: string | null
  readonly claims: unknown
  /** Name of the transport at hand; undefined while there is none. */
  readonly transport: string | undefined
  /**
   * Asks the client, which answers by a handler of the same name.
   * Rejects with an EverwireError: what the client answered, `timeout`, or `outcome-unknown` when the session ends.
   */
  request(method: string, input?: unknown, options?: { timeoutMs?: number }): Promise<unknown>
  /**
   * Ends the session; the client is told the code. What it was sent in this turn still goes out before, as far as its
   * link takes it at once, when the code is `closed`, `server-closing` or one of your own (`app:…`), and is dropped
   * with any other.
   * @default code `closed`
   */
  end(code?: ErrorCode, reason?: string): void
}

/** What a session needs of the node that owns it. */
export interface SessionHost {
  readonly requestTimeoutMs: number
  after(ms: number, run: () => void): () => void
  schedule(flush: () => void): void
  /** A session frame that asks for something, with its number. */
  operation(session: ServerSession, frame: Frame, number: number): void
  /** What a client is asked, as it may be sent; perhaps a promise. */
  asks(method: string, input: unknown): unknown
  /** What a client answered, as it may be taken; perhaps a promise. */
  answers(method: string, output: unknown): unknown
  ended(session: ServerSession, code: ErrorCode, reason: string): void
}

/** What a session is on the node that it comes from. */
export interface MovedSession {
  readonly id: string
  readonly attachState: AttachState
  readonly state: SessionState
}

export interface ServerSessionOptions {
  secret: string
  nodeId: string
  identity: Identity
  outboxFrames: number
  outboxBytes: number
  budget: OutboxBudget
  host: SessionHost
  /** Missing for one that begins here. */
  moved?: MovedSession | undefined
}

const maxParkedFrames = 1_000
const maxParkedBytes = 1_048_576

interface PendingRequest {
  method: string
  resolve(value: unknown): void
  reject(error: EverwireError): void
  cancel(): void
}

/** A session on the node that owns it. */
export class ServerSession implements ClientSession, Reader {
  readonly id: string
  readonly secret: string
  /** What the client calls it: a bearer credential. */
  readonly token: string
  readonly core: OwnerSession
  /** Names on the bus of the channels that it reads. */
  readonly channels = new Map<string, string>()
  readonly #host: SessionHost
  readonly #roomFrames: number
  readonly #roomBytes: number
  readonly #requests = new Map<number, PendingRequest>()
  readonly #lanes = new Lanes()
  /** Operations without an answer, by their numbers. */
  readonly #unanswered = new Map<number, Frame>()
  #waiting: (() => void)[] = []
  #answerWaiting: (() => void)[] = []
  #identity: Identity
  #operationBytes = 0
  #parked: { link: Link; frame: Frame }[] | undefined
  #parkedBytes = 0
  attachState: AttachState
  /** Settled once a node that asked for this session has it, or has not; missing while none asks. */
  leaving: Promise<void> | undefined
  /** It began at another node. */
  readonly hasMoved: boolean
  /** Its subscriptions were allowed by this node, under the claims at hand. */
  isAuthorized: boolean
  /** What the client was told last. */
  toldStale = false
  /** When it came from another node that goes on; undefined for one that began here, or was given away. */
  cameAt: number | undefined
  /** Watches the link at hand. */
  heartbeat: Heartbeat | undefined

  constructor(options: ServerSessionOptions) {
    const { secret, nodeId, identity, outboxFrames, outboxBytes, budget, host, moved } = options
    this.hasMoved = moved !== undefined
    this.isAuthorized = !this.hasMoved
    this.id = moved?.id ?? randomBase32(16)
    this.attachState = moved?.attachState ?? neverAttached
    this.secret = secret
    this.token = `${nodeId}.${secret}`
    this.#identity = identity
    this.#host = host
    this.#roomFrames = outboxFrames / 2
    this.#roomBytes = outboxBytes / 2
    this.core = createOwnerSession(
      { outboxFrames, outboxBytes, budget, schedule: (flush) => host.schedule(flush) },
      {
        frame: (frame, number) => this.#frame(frame, number),
        acknowledged: () => this.#wake(),
        heard: () => this.heartbeat?.heard(),
        ended: (code, reason) => this.#ended(code, reason),
      },
      moved?.state,
    )
  }

  get userId(): string | null {
    return this.#identity.userId
  }
  get claims(): unknown {
    return this.#identity.claims
  }
  get identity(): Identity {
    return this.#identity
  }
  set identity(identity: Identity) {
    this.#identity = identity
  }
  get transport(): string | undefined {
    return this.core.link?.transport
  }
  /** Operations that have no answer yet, by their numbers, in order. */
  get unanswered(): ReadonlyMap<number, Frame> {
    return this.#unanswered
  }
  /** Bytes of their payloads. */
  get operationBytes(): number {
    return this.#operationBytes
  }

  /** This session as hooks would see it under another identity. */
  as(identity: Identity): ClientSession {
    return {
      id: this.id,
      userId: identity.userId,
      claims: identity.claims,
      transport: this.transport,
      request: (...args) => this.request(...args),
      end: (...args) => this.end(...args),
    }
  }

  /** A frame came on a link. */
  receive(link: Link, frame: Frame): void {
    if (!this.#parked) return this.core.receive(link, frame)
    this.#parkedBytes += frame.data?.length ?? 0
    if (this.#parked.push({ link, frame }) <= maxParkedFrames && this.#parkedBytes <= maxParkedBytes) return
    // It is sent again over the next link.
    this.#parked = []
    link.close('node-unavailable', 'the session moves between nodes')
  }

  /** From now on what the client sends waits, unapplied. */
  park(): void {
    this.#parked ??= []
    this.#parkedBytes = 0
  }

  /** Goes on with what waited. */
  unpark(): void {
    const parked = this.#parked ?? []
    this.#parked = undefined
    for (const { link, frame } of parked) this.core.receive(link, frame)
  }

  /** Leaves the session to another node, in this turn: here nothing of it is done or sent any more. */
  handOver(): MovedSession {
    this.#parked = undefined
    this.#rejectRequests('the session has moved to another node before the client answered')
    const { id, attachState } = this
    const state = this.core.handOver()
    this.#wake(true)
    return { id, attachState, state }
  }

  /** The answer to an operation is in the outbox. Safe to call twice. */
  answered(number: number): void {
    const operation = this.#unanswered.get(number)
    if (!operation) return
    this.#unanswered.delete(number)
    this.#operationBytes -= operation.data?.length ?? 0
    const waiting = this.#answerWaiting
    this.#answerWaiting = []
    for (const resolve of waiting) resolve()
  }

  /** Resolves when an operation is answered. */
  nextAnswer(): Promise<void> {
    return new Promise((resolve) => this.#answerWaiting.push(resolve))
  }

  send(frame: EncodedFrame): void {
    if (!this.core.ended) this.core.send(frame)
  }

  async room(): Promise<void> {
    while (!this.core.ended && !this.#hasRoom())
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  removed(key: string, channel: string, error: unknown): void {
    this.channels.delete(key)
    this.core.eraseWhere((frame) => frame.channel === key)
    this.send(encodeFrame(['unsub', channel, codeOf(error)]))
  }

  /** Goes on over a link: welcomes, then replays. */
  attach(link: Link, welcome: EncodedFrame, cursor: number): void {
    const old = this.core.link
    this.core.acknowledge(cursor)
    link.send([welcome])
    this.core.bind(link, { receiveFrom: this.core.received + 1, sendFrom: cursor + 1 })
    old?.send([encodeFrame(['superseded'])])
    old?.close('superseded')
    this.#wake()
  }

  drained(link: Link): void {
    this.core.drained(link)
    this.#wake()
  }

  /** Runs what concerns one channel one after the other, in order of arrival; different channels side by side. */
  lane(key: string, run: () => Promise<void>): Promise<void> {
    return this.#lanes.run(key, run)
  }

  /** Answers operation `number` exactly once: with the frame that `run` makes, or the error that it throws. */
  async answer(
    number: number,
    operation: Frame,
    run: () => Promise<EncodedFrame | undefined>,
  ): Promise<void> {
    this.#unanswered.set(number, operation)
    this.#operationBytes += operation.data?.length ?? 0
    try {
      const frame = await run()
      if (frame) this.send(frame)
    } catch (error) {
      this.send(errorFrame(number, error))
      if (codeOf(error) === 'internal') throw error
    } finally {
      this.answered(number)
    }
  }

  async request(
    method: string,
    input?: unknown,
    { timeoutMs = this.#host.requestTimeoutMs }: { timeoutMs?: number } = {},
  ): Promise<unknown> {
    const given = this.#host.asks(method, input)
    const { data, binary } = encodeData(isPromise(given) ? await given : given)
    return await new Promise((resolve, reject) => {
      const number = this.core.send(encodeFrame(['req', method, timeoutMs], data, { binary }))
      const cancel = this.#host.after(timeoutMs, () => {
        this.#requests.delete(number)
        reject(new EverwireError('timeout', `the client did not answer ${method} within ${timeoutMs} ms`))
      })
      this.#requests.set(number, { method, resolve, reject, cancel })
    })
  }

  end(code: ErrorCode = 'closed', reason = ''): void {
    // Other codes say that the client may read no more, reads too slowly, or can not be trusted.
    if (code === 'closed' || code === 'server-closing' || code.startsWith('app:')) this.core.flush()
    this.core.end(code, reason)
  }

  #frame(frame: Frame, number: number): void {
    const [kind, to] = frame.header
    if (kind === 'reply' || kind === 'err') this.#answered(frame, to as number)
    else this.#host.operation(this, frame, number)
  }

  #answered(frame: Frame, to: number): void {
    const request = this.#requests.get(to)
    if (!request) return
    this.#requests.delete(to)
    request.cancel()
    const [kind, , code, message] = frame.header
    try {
      if (kind === 'reply') request.resolve(this.#host.answers(request.method, decodeData(frame)))
      else
        request.reject(
          new EverwireError(code as ErrorCode, (message as string | null) ?? 'the client refused'),
        )
    } catch (error) {
      request.reject(error as EverwireError)
    }
  }

  #ended(code: ErrorCode, reason: string): void {
    this.#rejectRequests('the session ended before the client answered')
    this.#wake(true)
    this.#host.ended(this, code, reason)
  }

  #rejectRequests(message: string): void {
    for (const { reject, cancel } of this.#requests.values()) {
      cancel()
      reject(new EverwireError('outcome-unknown', message))
    }
    this.#requests.clear()
  }

  #hasRoom(): boolean {
    const { base, sent, bytes } = this.core.outbox
    // Without a link too: between two polls there is none, and each would bring what one moment had room for.
    return sent - base < this.#roomFrames && bytes <= this.#roomBytes
  }

  #wake(always = false): void {
    if (this.#waiting.length === 0 || !(always || this.#hasRoom())) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}

/** An error as the answer to an operation; what is not ours says nothing of the inside. */
export function errorFrame(number: number, error: unknown): EncodedFrame {
  const code = codeOf(error)
  const message = error instanceof EverwireError ? error.message : 'the server failed'
  const retryAfterMs = error instanceof EverwireError ? error.retryAfterMs : undefined
  return encodeFrame(['err', number, code, message, ...(retryAfterMs === undefined ? [] : [retryAfterMs])])
}
