import { counter } from './counter.js'
import { numberOf, payloadOf } from './payload.js'

export interface Pace {
  /** Publications a second, and for how long. */
  perSecond: number
  latencyMs: number
  /** How often each publication arrives. @default 1 */
  copies?: number
}

/** What arrived, and where in it the payload begins. @default start 0 */
export type HeardPayload = (payload: Uint8Array | string, start?: number) => void

/** Publishes at a fixed rate; p50 and p99 of the way to the subscriber, in milliseconds. */
export async function pace(
  { perSecond, latencyMs, copies = 1 }: Pace,
  publish: (n: number, payload: string) => unknown,
  listen: (heard: HeardPayload) => unknown,
): Promise<{ p50: number; p99: number }> {
  const total = Math.ceil((perSecond * latencyMs) / 1_000)
  const sent = new Float64Array(total)
  const took: number[] = []
  const { heard, all } = counter('paced', total * copies)
  await listen((payload, start) => {
    took.push(performance.now() - sent[numberOf(payload, start)]!)
    heard()
  })
  const started = performance.now()
  const answers: unknown[] = []
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
