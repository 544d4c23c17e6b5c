import {
  assertChannelName,
  codeOf,
  decodeData,
  encodeData,
  encodeFrame,
  EverwireError,
  type EncodedFrame,
  type ErrorCode,
  type Frame,
  type Position,
} from '@everwire/core'
import { assertMayPublish, assertMayRead } from './channels/rules.js'
import { errorFrame, type ClientSession, type Identity, type ServerSession } from './client-session.js'
import type { Hub } from './channels/hub.js'
import type { Methods } from './methods.js'
import { assertPublicationNames } from './channels/publication.js'
import type { Schemas } from './schemas.js'

export interface OperationsOptions {
  hub: Hub
  methods: Methods
  schemas: Schemas
  maxSubscriptions: number
  maxOperations: number
  maxOperationBytes: number
  requestTimeoutMs: number
  frameBytes: number
  /** An operation failed for a reason that is ours. */
  failed(session: ServerSession, error: unknown): void
}

const historyMethod = 'everwire:history'
const historyLimit = { default: 50, most: 1_000 }

/** What a client may ask for: every operation gets exactly one answer, a result or an error. */
export class Operations {
  readonly #options: OperationsOptions

  constructor(options: OperationsOptions) {
    this.#options = options
  }

  /** @param again another node may have done it already */
  execute(session: ServerSession, frame: Frame, number: number, again = false): void {
    const { maxOperations, maxOperationBytes } = this.#options
    const bytes = frame.data?.length ?? 0
    // A single one is bounded by the size of a frame.
    const { size } = session.unanswered
    const isTooMuch = size > 0 && session.operationBytes + bytes > maxOperationBytes
    if (size >= maxOperations || isTooMuch) {
      const error = new EverwireError(
        'too-many-operations',
        `${size} operations with ${session.operationBytes} bytes have no answer yet`,
      )
      return session.send(errorFrame(number, error))
    }
    session
      .answer(number, frame, () => this.#run(session, frame, number, again))
      .catch((error: unknown) => this.#options.failed(session, error))
  }

  /** Goes on with an operation that another node may have done already: what could be done twice is answered so. */
  repeat(session: ServerSession, frame: Frame, number: number): void {
    if (this.#canRepeat(session, frame)) return this.execute(session, frame, number, true)
    const error = new EverwireError(
      'outcome-unknown',
      'the session moved to another node in the middle of it',
    )
    session.send(errorFrame(number, error))
  }

  /** Waits, at most so long, until nothing is under way that cannot be repeated elsewhere. */
  async settled(session: ServerSession, deadline: Promise<void>): Promise<void> {
    const late = deadline.then(() => 'late')
    while ([...session.unanswered.values()].some((frame) => !this.#canRepeat(session, frame)))
      if ((await Promise.race([session.nextAnswer(), late])) === 'late') return
  }

  /** Subscriptions may be asked for again, and so may what is stored once under its id. */
  #canRepeat(session: ServerSession, { header }: Frame): boolean {
    const [kind, name, , id] = header as [string, string, string?, string?]
    if (kind !== 'pub') return kind !== 'req' || name === historyMethod
    try {
      const { hub } = this.#options
      return id !== undefined && id !== null && hub.rule(hub.resolve(session, name)).history !== undefined
    } catch {
      // Refused without being done.
      return true
    }
  }

  /** Asks again, as another identity, for every channel of a session. @returns why, by key, for those now denied */
  async denied(session: ServerSession, identity: Identity): Promise<Map<string, unknown>> {
    const view = session.as(identity)
    const asked = new Set<string>()
    const denied = new Map<string, unknown>()
    const next = () => [...session.channels].find(([key]) => !asked.has(key))
    // Channels may be joined while the hooks are asked; at the end every one has been asked for.
    for (let channel = next(); channel; channel = next()) {
      const [key, name] = channel
      asked.add(key)
      await this.#mayRead(view, key, name).catch((error: unknown) => denied.set(key, error))
    }
    return denied
  }

  /** Takes a subscription back, with everything of it that waits to be sent. */
  revoke(session: ServerSession, key: string, error: unknown): void {
    const channel = session.channels.get(key)
    if (channel === undefined) return
    this.#options.hub.unsubscribe(session, key)
    session.removed(key, channel, error)
  }

  async #run(
    session: ServerSession,
    frame: Frame,
    number: number,
    again: boolean,
  ): Promise<EncodedFrame | undefined> {
    const [kind, name] = frame.header as [string, string]
    if (kind === 'req') return await this.#request(session, frame, number)
    if (kind !== 'sub' && kind !== 'unsub' && kind !== 'pub') {
      session.end('bad-frame', `a client sends no ${kind}`)
      return undefined
    }
    assertChannelName(name)
    const key = this.#options.hub.resolve(session, name)
    let answer: EncodedFrame | undefined
    // In the order of arrival, so that a publication cannot overtake another of the same channel.
    await session.lane(key, async () => {
      if (session.core.ended) return
      if (kind === 'sub') await this.#subscribe(session, key, frame, number)
      else if (kind === 'unsub') answer = this.#unsubscribe(session, key, number)
      else answer = await this.#publish(session, key, frame, number, again)
    })
    return answer
  }

  async #subscribe(session: ServerSession, key: string, { header }: Frame, number: number): Promise<void> {
    const [, channel, epoch, offset] = header as [string, string, string?, number?]
    const { hub, maxSubscriptions } = this.#options
    if (!session.channels.has(key) && session.channels.size >= maxSubscriptions)
      throw new EverwireError('too-many-subscriptions', `a session may read ${maxSubscriptions} channels`)
    await this.#mayReadNow(session, key, channel)
    if (session.core.ended) return
    session.channels.set(key, channel)
    const from = typeof epoch === 'string' && typeof offset === 'number' ? { epoch, offset } : undefined
    try {
      // The answer goes out before the first publication does, in the same turn.
      await hub.subscribe(session, key, from, (start) => {
        session.send(acknowledgement(number, start))
        // In the same turn: were it to move now, the next node would answer it again.
        session.answered(number)
      })
    } catch (error) {
      session.channels.delete(key)
      throw error
    }
  }

  #unsubscribe(session: ServerSession, key: string, number: number): EncodedFrame {
    session.channels.delete(key)
    this.#options.hub.unsubscribe(session, key)
    return acknowledgement(number)
  }

  async #publish(
    session: ServerSession,
    key: string,
    frame: Frame,
    number: number,
    again: boolean,
  ): Promise<EncodedFrame> {
    const [, channel, event, id, retried] = frame.header as [string, string, string, string?, number?]
    assertPublicationNames(event, id)
    const { hub, schemas } = this.#options
    const rule = hub.rule(key)
    // Nobody may: its schema need not be asked.
    if (!rule.publish) await assertMayPublish(rule, session, channel, { event, data: undefined })
    // Checked once, here at the edge: nodes and readers pass the payload on as it is.
    const checked = await schemas.payload(channel, event, frame).catch((error: unknown) => {
      throw again || retried ? unknownIf('timeout', error) : error
    })
    const { value, data, binary } = checked
    await assertMayPublish(rule, session, channel, { event, data: value })
    if (retried && !rule.history)
      throw new EverwireError(
        'outcome-unknown',
        'a live publication is not sent twice: the first may have arrived',
      )
    const userId = rule.showPublisher && session.userId !== null ? session.userId : undefined
    const message = { event, data, binary: binary || undefined, userId }
    const publicationId = id ? { userId: session.userId, id } : undefined
    try {
      return acknowledgement(number, await hub.publish(key, message, publicationId))
    } catch (error) {
      throw again || retried ? unknownIf('temporary', error) : error
    }
  }

  async #request(session: ServerSession, frame: Frame, number: number): Promise<EncodedFrame> {
    const [, method, timeoutMs] = frame.header as [string, string, number?]
    const { methods, requestTimeoutMs, frameBytes } = this.#options
    const input = decodeData(frame)
    if (method === historyMethod) return encodeFrame(['reply', number], await this.#history(session, input))
    // The client may shorten the time, never prolong it.
    const wait = Math.min(timeoutMs ?? requestTimeoutMs, requestTimeoutMs)
    const { data, binary } = encodeData(await methods.call(method, session, input, wait))
    const reply = encodeFrame(['reply', number], data, { binary })
    if (reply.bytes > frameBytes)
      throw new EverwireError(
        'frame-too-large',
        `the reply has ${reply.bytes} bytes, the limit is ${frameBytes}`,
      )
    return reply
  }

  async #history(session: ServerSession, input: unknown): Promise<string> {
    const { channel, before, limit = historyLimit.default } = (input ?? {}) as Record<string, unknown>
    if (typeof channel !== 'string')
      throw new EverwireError('bad-payload', 'history: channel must be a string')
    for (const value of [before ?? 0, limit])
      if (!Number.isSafeInteger(value) || (value as number) < 0)
        throw new EverwireError('bad-payload', 'history: before and limit must be whole numbers')
    assertChannelName(channel)
    const { hub, frameBytes } = this.#options
    const key = hub.resolve(session, channel)
    await this.#mayReadNow(session, key, channel)
    const range = {
      before: before as number | undefined,
      limit: Math.min(limit as number, historyLimit.most),
    }
    return await hub.history(key, range, session, frameBytes - 1_024)
  }

  /** Under the claims of the newest attach, which may come while a hook is asked. */
  async #mayReadNow(session: ServerSession, key: string, channel: string): Promise<void> {
    let asked: Identity
    do {
      asked = session.identity
      await this.#mayRead(session, key, channel)
    } while (session.identity !== asked && !session.core.ended)
  }

  async #mayRead(session: ClientSession, key: string, channel: string): Promise<void> {
    await assertMayRead(this.#options.hub.rule(key), session, channel)
  }
}

/** What went wrong with a repetition. This time it did not happen; the first time it may have. */
const unknownIf = (code: ErrorCode, error: unknown): unknown =>
  codeOf(error) === code
    ? new EverwireError('outcome-unknown', 'it may have been stored before', { cause: error })
    : error

const acknowledgement = (number: number, position?: Position): EncodedFrame =>
  encodeFrame(['ack', number, ...(position ? [position.epoch, position.offset] : [])])
