import {
  encodeFrame,
  EverwireError,
  type Cancel,
  type Clock,
  type EncodedFrame,
  type ErrorCode,
  type Frame,
} from '@everwire/core'
import type { CarriedSession } from './carrier.js'

/** Something asked of the server, which gets exactly one answer. */
interface Operation {
  frame: EncodedFrame
  /** What is sent to a new session when this may have arrived at the last; missing when that would do it twice. */
  again: EncodedFrame | undefined
  perSession: boolean
  done: Done
  cancel: Cancel
  number: number
  firstSentAt: number | undefined
}

/** Hears the answer, or why there is none; in the turn in which it comes, before any later frame. */
export type Done = (error: EverwireError | undefined, answer: Frame | undefined) => void

export interface OperationsOptions {
  clock: Clock
  /** Most operations that wait or are unanswered. */
  queueSize: number
  /** Most bytes of those. */
  queueBytes: number
}

export interface RunOptions {
  timeoutMs: number
  again?: EncodedFrame | undefined
  /** Means nothing to another session: rejected as `outcome-unknown` when this one is lost. @default false */
  perSession?: boolean
}

/** The operations that are open: waiting for a session, for the link, or for their answer; bounded and in order. */
export class Operations {
  readonly #options: OperationsOptions
  readonly #open = new Set<Operation>()
  readonly #byNumber = new Map<number, Operation>()
  #bytes = 0
  #session: CarriedSession | undefined
  #frameBytes = Number.POSITIVE_INFINITY
  #dedupWindowMs = Number.POSITIVE_INFINITY

  constructor(options: OperationsOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#open.size
  }

  /** Rejects with `queue-full`, `frame-too-large`, `timeout`, `outcome-unknown`, or what the server answers. */
  run(frame: EncodedFrame, options: RunOptions): Promise<Frame> {
    return new Promise((resolve, reject) => {
      this.start(frame, options, (error, answer) => (error ? reject(error) : resolve(answer!)))
    })
  }

  /** As `run`, for those who must hear the answer before the frame that follows it. */
  start(frame: EncodedFrame, { timeoutMs, again, perSession = false }: RunOptions, done: Done): void {
    const { clock, queueSize, queueBytes } = this.#options
    const refused =
      frame.bytes > this.#frameBytes
        ? new EverwireError(
            'frame-too-large',
            `${frame.bytes} bytes are more than the ${this.#frameBytes} allowed`,
          )
        : this.#open.size >= queueSize || this.#bytes + frame.bytes > queueBytes
          ? new EverwireError('queue-full', `${this.#open.size} operations have no answer yet`)
          : undefined
    if (refused) return done(refused, undefined)
    const operation: Operation = {
      frame,
      again,
      perSession,
      done,
      cancel() {},
      number: 0,
      firstSentAt: undefined,
    }
    operation.cancel = clock.after(timeoutMs, () => this.#expire(operation, timeoutMs))
    this.#open.add(operation)
    this.#bytes += frame.bytes
    if (this.#session) this.#send(operation, frame)
  }

  /** A new session began: what is open goes to it, in order. */
  begin(
    session: CarriedSession,
    { frameBytes, dedupWindowMs }: { frameBytes: number; dedupWindowMs: number },
  ): void {
    this.#session = session
    this.#frameBytes = frameBytes
    this.#dedupWindowMs = dedupWindowMs
    for (const operation of [...this.#open]) {
      const { frame, again, firstSentAt } = operation
      if (frame.bytes > frameBytes)
        this.#reject(
          operation,
          'frame-too-large',
          `${frame.bytes} bytes are more than the ${frameBytes} allowed`,
        )
      else if (firstSentAt === undefined) this.#send(operation, frame)
      // Past half of the window a retry could be stored a second time.
      else if (again && this.#options.clock.now() - firstSentAt < this.#dedupWindowMs / 2)
        this.#send(operation, again)
      else this.#reject(operation, 'outcome-unknown', 'the session was lost before the answer came')
    }
  }

  /** The session is lost. What would be done twice by asking again is rejected at once. */
  lost(): void {
    const session = this.#session
    this.#session = undefined
    this.#byNumber.clear()
    for (const operation of [...this.#open]) {
      if (operation.number > 0 && session?.withdraw(operation.number)) operation.firstSentAt = undefined
      operation.number = 0
      if (operation.perSession || (operation.firstSentAt !== undefined && !operation.again))
        this.#reject(operation, 'outcome-unknown', 'the session was lost before the answer came')
    }
  }

  /** @returns whether the frame answers an operation of ours */
  answered(frame: Frame): boolean {
    const [kind, number, code, message, retryAfterMs] = frame.header
    if (kind !== 'ack' && kind !== 'reply' && kind !== 'err') return false
    const operation = this.#byNumber.get(number as number)
    if (!operation) return true
    this.#close(operation)
    const retry = typeof retryAfterMs === 'number' ? { retryAfterMs } : {}
    const text = typeof message === 'string' ? message : undefined
    if (kind === 'err') operation.done(new EverwireError(code as ErrorCode, text, retry), undefined)
    else operation.done(undefined, frame)
    return true
  }

  /** Rejects everything that is open. */
  close(code: ErrorCode, message: string): void {
    for (const operation of [...this.#open]) this.#reject(operation, code, message)
  }

  #send(operation: Operation, frame: EncodedFrame): void {
    operation.firstSentAt ??= this.#options.clock.now()
    operation.number = this.#session!.send(frame)
    this.#byNumber.set(operation.number, operation)
  }

  #expire(operation: Operation, timeoutMs: number): void {
    // An operation that no link ever took is known not to have happened.
    const never = operation.firstSentAt === undefined || this.#session?.withdraw(operation.number) === true
    if (never) this.#reject(operation, 'timeout', `it could not be sent within ${timeoutMs} ms`)
    else if (operation.frame.kind === 'req')
      this.#reject(operation, 'timeout', `no answer within ${timeoutMs} ms`)
    else this.#reject(operation, 'outcome-unknown', `no answer within ${timeoutMs} ms`)
  }

  #reject(operation: Operation, code: ErrorCode, message: string): void {
    this.#close(operation)
    operation.done(new EverwireError(code, message), undefined)
  }

  #close(operation: Operation): void {
    operation.cancel()
    this.#open.delete(operation)
    this.#byNumber.delete(operation.number)
    this.#bytes -= operation.frame.bytes
  }
}

/** A publication as it is sent first, and as it is sent again to another session. */
export function publicationFrames(
  channel: string,
  event: string,
  id: string,
  payload: { data?: EncodedFrame['data']; binary?: boolean },
): { first: EncodedFrame; again: EncodedFrame } {
  const encode = (...retry: number[]) =>
    encodeFrame(['pub', channel, event, id, ...retry], payload.data, { binary: payload.binary })
  return { first: encode(), again: encode(1) }
}
