import type { Results } from '../../table.js'
import { deliver } from './deliver.js'
import { measureRate, type Row } from './row.js'

const bursts: [name: string, size: number][] = [
  ['fan-out', 1],
  ['fan-out, bursts of 8', 8],
]

/** One publisher, many subscribers of one channel: deliveries a second. */
export const fanOut: Row = {
  name: 'fan-out',
  nodes: 1,
  async measure(servers, load, { subscribers: count, publications }) {
    const { url } = servers[0]!
    const subscribers = await load.connect(url, count)
    await Promise.all(subscribers.map((subscriber) => subscriber.subscribe()))
    const [publisher] = await load.connect(url, 1)
    const results: Results = new Map()
    for (const [name, size] of bursts) {
      const { rate, cpu } = await measureRate(servers, count * publications, () =>
        deliver(publisher!, subscribers, publications, size),
      )
      results.set(name, rate)
      results.set(`${name}: CPU`, cpu)
    }
    return results
  },
}
