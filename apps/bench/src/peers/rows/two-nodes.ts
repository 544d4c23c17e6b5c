import { pace } from '../../pace.js'
import type { Results } from '../../table.js'
import { deliver } from './deliver.js'
import { measureRate, type Row } from './row.js'

/** A publisher on one node, subscribers on both: deliveries a second, and how long they take at a modest rate. */
export const twoNodes: Row = {
  name: 'two-nodes',
  nodes: 2,
  async measure(servers, load, { subscribers: count, publications, perSecond, latencyMs }) {
    const half = Math.ceil(count / 2)
    const [near, far] = [await load.connect(servers[0]!.url, half), await load.connect(servers[1]!.url, half)]
    const subscribers = [...near, ...far]
    await Promise.all(subscribers.map((subscriber) => subscriber.subscribe()))
    const [publisher] = await load.connect(servers[0]!.url, 1)
    const results: Results = new Map()

    const copies = subscribers.length
    const { rate, cpu } = await measureRate(servers, copies * publications, () =>
      deliver(publisher!, subscribers, publications, 1),
    )
    results.set('two nodes', rate)
    results.set('two nodes: CPU', cpu)

    const { p50, p99 } = await pace(
      { perSecond, latencyMs, copies },
      (_n, payload) => publisher!.publish(payload),
      (heard) => {
        const onPublication = (message: Buffer) => heard(message, message.indexOf('{"n":"'))
        for (const subscriber of subscribers) subscriber.onPublication = onPublication
      },
    )
    results.set('two nodes, paced: p50', p50)
    results.set('two nodes, paced: p99', p99)
    return results
  },
}
