import type { Candidate, Heard } from './candidate.js'

export interface Sizes {
  /** Publications per round of live workloads, and of those with history and 256 in flight. */
  messages: number
  /** Publications per round with one in flight. */
  oneByOne: number
  /** Publications a second, and for how long, when latency is measured. */
  perSecond: number
  latencyMs: number
}

/** One number per line of the table; names are the same for every candidate. */
export type Results = Map<string, number>

const payloadBytes = 128
const patienceMs = 60_000

/** 128 bytes of JSON with a number in it that is easy to find. */
const payloadOf = (n: number): string => {
  const start = `{"n":"${String(n).padStart(9, '0')}","pad":"`
  return `${start}${'x'.repeat(payloadBytes - start.length - 2)}"}`
}
const numberOf = (payload: Uint8Array | string): number => {
  if (typeof payload === 'string') return Number(payload.slice(6, 15))
  let n = 0
  for (let at = 6; at < 15; at++) n = n * 10 + payload[at]! - 48
  return n
}

type Publish = (n: number, payload: string) => Promise<unknown>

/** Counts what arrives; resolves when everything did. */
function counter(what: string, total: number, skip = 0) {
  let count = -skip
  let done = () => {}
  const all = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what}: ${count} of ${total} arrived`)), patienceMs)
    done = () => {
      clearTimeout(timer)
      resolve()
    }
  })
  const heard: Heard = () => {
    if (++count === total) done()
  }
  return { heard, all }
}

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

/** Publishes at a fixed rate; p50 and p99 of the way to the subscriber, in milliseconds. */
async function pace(
  { perSecond, latencyMs }: Sizes,
  publish: Publish,
  listen: (heard: Heard) => Promise<void>,
) {
  const total = Math.ceil((perSecond * latencyMs) / 1_000)
  const sent = new Float64Array(total)
  const took: number[] = []
  const { heard, all } = counter('paced', total)
  await listen((payload) => {
    const n = numberOf(payload)
    took.push(performance.now() - sent[n]!)
    heard(payload)
  })
  const started = performance.now()
  const answers: Promise<unknown>[] = []
  await new Promise<void>((resolve) => {
    let next = 0
    const timer = setInterval(() => {
      const due = Math.min(total, Math.floor(((performance.now() - started) / 1_000) * perSecond))
      for (; next < due; next++) {
        sent[next] = performance.now()
        answers.push(publish(next, payloadOf(next)))
      }
      if (next < total) return
      clearInterval(timer)
      resolve()
    }, 1)
  })
  await Promise.all(answers)
  await all
  took.sort((a, b) => a - b)
  const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))]!
  return { p50: at(0.5), p99: at(0.99) }
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
