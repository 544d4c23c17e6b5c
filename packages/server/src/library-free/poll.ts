import { type Clock, type EverwireError, type GapReason, type Position } from '@everwire/core'
import { ChannelReader, type ChannelMessage, type ChannelReaderOptions, type ChannelSink } from './reader.js'

export interface ChannelPollOptions extends Omit<ChannelReaderOptions, 'sink'> {
  clock: Clock
  waitMs: number
}

/** What a poll that was held brings. */
export interface Polled {
  /** None when the time was over. */
  messages: readonly ChannelMessage[]
  next: string
  current: boolean
  /** Publications are missing before `next`; then there are no messages. */
  gap?: GapReason
}

export interface ChannelPoll {
  /** Waits for the first publications after a position, or from now on. */
  wait(from: Position | undefined): Promise<Polled>
  /** Answers with what there is, perhaps nothing; before it waits, refuses. */
  end(refusal: EverwireError): void
}

/** Holds one request until there is something to answer, or its time is over. */
export function createChannelPoll({ clock, waitMs, ...options }: ChannelPollOptions): ChannelPoll {
  let settle: { resolve(polled: Polled): void; reject(error: unknown): void }
  const polled = new Promise<Polled>((resolve, reject) => (settle = { resolve, reject }))
  // Nobody may be waiting yet.
  polled.catch(() => {})

  let waiting = false
  const sink: ChannelSink = {
    waitingBytes: 0,
    batch(messages, next, current) {
      if (messages.length > 0) settle.resolve({ messages, next, current })
    },
    gap: (gap, next) => settle.resolve({ messages: [], next, current: false, gap }),
    removed: (error) => settle.reject(error),
  }
  const reader = new ChannelReader({ ...options, sink })
  const nothing = () => {
    // What came in this turn is told: the position is past it already.
    reader.flush()
    settle.resolve({ messages: [], next: reader.token, current: true })
  }

  return {
    async wait(from) {
      let cancel = () => {}
      try {
        const started = reader.start(from, () => {
          waiting = true
          cancel = clock.after(waitMs, nothing)
        })
        started.catch((error: unknown) => settle.reject(error))
        return await polled
      } finally {
        cancel()
        reader.stop()
      }
    },
    end(refusal) {
      if (waiting) nothing()
      else settle.reject(refusal)
    },
  }
}
