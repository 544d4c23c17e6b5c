import {
  encodeFrame,
  EverwireError,
  refusal,
  type Cancel,
  type Clock,
  type EncodedFrame,
  type ErrorCode,
  type Frame,
} from '@everwire/core'
import type { CarriedSession } from './carrier.js'
import { pageLeft } from './page-events.js'
import type { StoredQueue } from './stored-queue.js'

/** Something asked of the server, which gets exactly one answer. */
interface Operation extends RunOptions {
  frame: EncodedFrame
  done: Done
  cancel: Cancel
  /** In the session at hand; 0 while it was not given to one. */
  number: number
}

/** Hears the answer, or why there is none; in the turn in which it comes, before any later frame. */
export type Done = (error: EverwireError | undefined, answer: Frame | undefined) => void

export interface OperationsOptions {
  clock: Clock
  /** Most operations that wait or are unanswered. */
  queueSize: number
  /** Most bytes of those. */
  queueBytes: number
  /** Keeps publications over reloads. */
  queueStore?: StoredQueue | undefined
}

export interface RunOptions {
  timeoutMs: number
  /** What is sent to a new session when this may have arrived at the last; missing when that would do it twice. */
  again?: EncodedFrame | undefined
  /** Means nothing to another session: rejected as `outcome-unknown` when this one is lost. @default false */
  perSession?: boolean
  /** When an earlier page sent it first, by the clock at hand. */
  firstSentAt?: number | undefined
}

/** The operations that are open: waiting for a session, for the link, or for their answer; bounded and in order. */
export interface Operations {
  readonly size: number
  /** Rejects with `queue-full`, `frame-too-large`, `timeout`, `outcome-unknown`, or what the server answers. */
  run(frame: EncodedFrame, options: RunOptions): Promise<Frame>
  /** As `run`, for those who must hear the answer before the frame that follows it. */
  start(frame: EncodedFrame, options: RunOptions, done: Done): void
  /** A new session began: what is open goes to it, in order. */
  begin(session: CarriedSession, limits: { frameBytes: number; dedupWindowMs: number }): void
  /** The session is lost. What would be done twice by asking again is rejected at once. */
  lost(): void
  /** @returns whether the frame answers an operation of ours */
  answered(frame: Frame): boolean
  /** Why nothing is taken any more. */
  readonly closed: EverwireError | undefined
  /** Rejects everything that is open. */
  reject(error: EverwireError): void
  /** The same, and what comes later. */
  close(error: EverwireError): void
}

export function createOperations({
  clock,
  queueSize,
  queueBytes,
  queueStore,
}: OperationsOptions): Operations {
  const open = new Set<Operation>()
  const byNumber = new Map<number, Operation>()
  let bytes = 0
  let session: CarriedSession | undefined
  let limits = { frameBytes: Infinity, dedupWindowMs: Infinity }
  let closed: EverwireError | undefined

  const settle = (operation: Operation, error: EverwireError | undefined, answer?: Frame) => {
    operation.cancel()
    open.delete(operation)
    byNumber.delete(operation.number)
    bytes -= operation.frame.bytes
    if (operation.again && error?.cause !== pageLeft) queueStore?.forget(operation.frame)
    operation.done(error, answer)
  }
  const reject = (operation: Operation, code: ErrorCode, message?: string) =>
    settle(operation, new EverwireError(code, message))

  const send = (operation: Operation, frame: EncodedFrame) => {
    operation.firstSentAt ??= clock.now()
    if (operation.again) queueStore?.sent(operation.frame)
    operation.number = session!.send(frame)
    byNumber.set(operation.number, operation)
  }

  /** An operation that no link ever took is known not to have happened. */
  const withdraw = (operation: Operation) => {
    if (session?.withdraw(operation.number)) operation.firstSentAt = undefined
  }

  /** Sends it, or what repeats it, unless that is not possible or not safe. */
  const give = (operation: Operation) => {
    const { frame, again, firstSentAt } = operation
    if (frame.bytes > limits.frameBytes) reject(operation, 'frame-too-large')
    else if (firstSentAt === undefined) send(operation, frame)
    // Past half of the window a retry could be stored a second time.
    else if (again && clock.now() - firstSentAt < limits.dedupWindowMs / 2) send(operation, again)
    else reject(operation, 'outcome-unknown')
  }

  const start: Operations['start'] = (frame, options, done) => {
    const { timeoutMs, again, perSession } = options
    if (closed) return done(closed, undefined)
    // Subscriptions have a bound of their own, and are not given up for what waits.
    if (!perSession && (open.size >= queueSize || bytes + frame.bytes > queueBytes))
      return done(new EverwireError('queue-full'), undefined)
    const operation: Operation = {
      ...options,
      frame,
      done,
      number: 0,
      cancel: clock.after(timeoutMs, () => {
        withdraw(operation)
        const isKnown = operation.firstSentAt === undefined || frame.kind === 'req'
        reject(operation, isKnown ? 'timeout' : 'outcome-unknown', `${timeoutMs} ms`)
      }),
    }
    open.add(operation)
    bytes += frame.bytes
    if (again) queueStore?.keep(frame, timeoutMs)
    if (session) give(operation)
  }
  queueStore?.restore(start, clock)

  return {
    get size() {
      return open.size
    },
    run: (frame, options) =>
      new Promise((resolve, reject) => {
        start(frame, options, (error, answer) => (error ? reject(error) : resolve(answer!)))
      }),
    start,
    begin(begun, newLimits) {
      session = begun
      limits = newLimits
      // Subscriptions first: what is published then is seen by its own publisher too.
      const order = ({ perSession }: Operation) => (perSession ? 0 : 1)
      for (const operation of [...open].sort((a, b) => order(a) - order(b))) give(operation)
    },
    lost() {
      for (const operation of [...open]) withdraw(operation)
      session = undefined
      byNumber.clear()
      for (const operation of [...open]) {
        operation.number = 0
        if (operation.perSession || (operation.firstSentAt !== undefined && !operation.again))
          reject(operation, 'outcome-unknown')
      }
    },
    answered(frame) {
      const [kind, number] = frame.header
      if (!['ack', 'reply', 'err'].includes(kind)) return false
      const operation = byNumber.get(number as number)
      if (operation) settle(operation, kind === 'err' ? refusal(frame, 2) : undefined, frame)
      return true
    },
    get closed() {
      return closed
    },
    close(error) {
      closed = error
      this.reject(error)
    },
    reject(error) {
      for (const operation of [...open]) settle(operation, error)
    },
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
