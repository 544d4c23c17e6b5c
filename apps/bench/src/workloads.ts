import type { Candidate } from './candidate.js'
import { counter } from './counter.js'
import { pace, type Pace } from './pace.js'
import { payloadOf } from './payload.js'
import type { Results } from './table.js'

export interface Sizes extends Pace {
  /** Publications per round of live workloads, and of those with history and 256 in flight. */
  messages: number
  /** Publications per round with one in flight. */
  oneByOne: number
}

type Publish = (n: number, payload: string) => Promise<unknown>

/** Publishes `total` with at most `window` without an answer; both rates are per second. */
async function pump(total: number, window: number, publish: Publish, delivered: Promise<void>) {
  const payloads = Array.from({ length: total }, (_, n) => payloadOf(n))
  const started = performance.now()
  let next = 0
  const worker = async () => {
    while (next < total) {
      const n = next++
      await publish(n, payloads[n]!)
    }
  }
  await Promise.all(Array.from({ length: window }, worker))
  const published = performance.now()
  await delivered
  return {
    publish: total / ((published - started) / 1_000),
    deliver: total / ((performance.now() - started) / 1_000),
  }
}

const channels = 100
const window = 256

/** Everything that is measured, on one candidate. */
export async function measure(candidate: Candidate, sizes: Sizes): Promise<Results> {
  const { messages, oneByOne } = sizes
  const results: Results = new Map()
  const rates = (name: string, { publish, deliver }: { publish: number; deliver: number }) => {
    results.set(`${name}: publish`, publish)
    results.set(`${name}: deliver`, deliver)
  }

  const warm = counter('warm', window)
  await candidate.listen('warm', warm.heard)
  await pump(window, window, (_n, text) => candidate.broadcast('warm', text), warm.all)

  const one = counter('one', messages)
  await candidate.listen('one', one.heard)
  rates(
    'live, 1 channel',
    await pump(messages, window, (_n, text) => candidate.broadcast('one', text), one.all),
  )

  const many = counter('many', messages)
  for (let n = 0; n < channels; n++) await candidate.listen(`many${n}`, many.heard)
  const spread = (n: number, text: string) => candidate.broadcast(`many${n % channels}`, text)
  rates('live, 100 channels', await pump(messages, window, spread, many.all))

  const slow = counter('slow', oneByOne, 1)
  await candidate.follow('slow', slow.heard)
  await candidate.store('slow', payloadOf(0))
  rates(
    'history, 1 in flight',
    await pump(oneByOne, 1, (_n, text) => candidate.store('slow', text), slow.all),
  )

  const fast = counter('fast', messages, 1)
  await candidate.follow('fast', fast.heard)
  // The first in a channel is different: there is no earlier one that it could follow.
  await candidate.store('fast', payloadOf(0))
  rates(
    'history, 256 in flight',
    await pump(messages, window, (_n, text) => candidate.store('fast', text), fast.all),
  )

  const latency = (name: string, { p50, p99 }: { p50: number; p99: number }) => {
    results.set(`${name}: p50`, p50)
    results.set(`${name}: p99`, p99)
  }
  latency(
    `live, ${sizes.perSecond}/s`,
    await pace(
      sizes,
      (_n, text) => candidate.broadcast('paced', text),
      (heard) => candidate.listen('paced', heard),
    ),
  )
  latency(
    `history, ${sizes.perSecond}/s`,
    await pace(
      sizes,
      (_n, text) => candidate.store('paced', text),
      (heard) => candidate.follow('paced', heard),
    ),
  )
  return results
}
