import type { Channel, EverwireError } from '@everwire/client'
import type { NumberedMessage } from '../shared.js'
import type { PageLedger } from './page-ledger.js'

export interface Stream {
  /** Publications a second; 0 while stopped. */
  readonly rate: number
  /** Number of the last publication. */
  readonly sequence: number
  /** Publications without an answer. */
  readonly unanswered: number
  start(perSecond: number): void
  stop(): void
}

const turnMs = 20
const mostPerTurn = 200
/** Half of what the client queues: an outage makes the stream wait, not fail. */
const mostUnanswered = 5_000

/** Publishes this page's own numbers, at a steady rate, whatever the connection does meanwhile. */
export function createStream(channel: Channel, publisher: () => string, ledger: PageLedger): Stream {
  let rate = 0
  let sequence = 0
  let unanswered = 0
  let timer: ReturnType<typeof setInterval> | undefined
  let last = 0
  let owed = 0

  const publishOne = () => {
    const message: NumberedMessage = { publisher: publisher(), sequence: ++sequence }
    unanswered++
    ledger.publishing(message.sequence)
    channel
      .publish('number', message)
      .then(
        () => ledger.accepted(message.sequence),
        (error: EverwireError) => {
          // Of an unknown outcome the ledger says neither.
          if (error.code !== 'outcome-unknown') ledger.refused(message.sequence)
        },
      )
      .finally(() => unanswered--)
  }
  const turn = () => {
    const now = performance.now()
    owed = Math.min(owed + ((now - last) / 1_000) * rate, mostPerTurn)
    last = now
    const due = Math.min(Math.floor(owed), mostUnanswered - unanswered)
    for (let i = 0; i < due; i++) publishOne()
    owed -= Math.max(due, 0)
  }
  return {
    get rate() {
      return rate
    },
    get sequence() {
      return sequence
    },
    get unanswered() {
      return unanswered
    },
    start(perSecond) {
      if (!(perSecond > 0 && perSecond <= 500))
        throw new RangeError(`the rate must be above 0 and at most 500 a second: ${perSecond}`)
      rate = perSecond
      last = performance.now()
      owed = 0
      timer ??= setInterval(turn, turnMs)
    },
    stop() {
      clearInterval(timer)
      timer = undefined
      rate = 0
    },
  }
}
