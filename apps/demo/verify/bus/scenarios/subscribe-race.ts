import { setTimeout as sleep } from 'node:timers/promises'
import type { NodeProcess } from '../../support/play/node-process.js'
import { channelNames } from '../../support/play/channels.js'
import type { Scenario } from '../../support/play/scenario.js'

/** What interest needs from one server to another: with less, a race is won by luck. */
const routeDelayMs = 40
const clientsPerNode = 4
const subscribingMs = 10_000

/**
 * Nodes on three servers of a cluster. Every channel is subscribed on each node for the first time while it is being
 * published elsewhere, and once more right after the subscription was accepted: from there on nothing may be missed.
 */
export const subscribeRace: Scenario = {
  name: 'subscribe-race',
  brief: false,
  gaps: {},
  async play(stage) {
    const { crowd, random, say } = stage
    const { all } = channelNames(334)
    const nats = await stage.nats({ servers: 3, proxyRoutes: true })
    const nodes = await stage.nodes(nats.urls.map((url) => [url]))
    const publishers = await Promise.all(
      nodes.map((node) => crowd.join(`p-${node.name}`, node.url, 'websocket')),
    )
    const elsewhere = (node: NodeProcess) => random.pick(publishers.filter((_, i) => nodes[i] !== node))
    nats.routes!.delay(routeDelayMs)

    const subscribeOne = async (node: NodeProcess, subscribe: () => Promise<void>, channel: string) => {
      await sleep(random.between(0, subscribingMs))
      const before = random.between(0, 2 * routeDelayMs)
      const flowing = sleep(before).then(() => crowd.publishAs(elsewhere(node), channel))
      await subscribe()
      await Promise.all([flowing, crowd.publishAs(elsewhere(node), channel)])
    }
    const subscriptions: Promise<void>[] = []
    for (const node of nodes) {
      const readers = await Promise.all(
        Array.from({ length: clientsPerNode }, (_, i) =>
          crowd.join(`r-${node.name}-${i}`, node.url, 'websocket'),
        ),
      )
      random.shuffled(all).forEach((channel, i) => {
        const reader = readers[i % readers.length]!
        subscriptions.push(subscribeOne(node, () => reader.subscribe(channel), channel))
      })
    }
    const stop = crowd.publishSteadily(50, all, random.fork('publications'))
    await Promise.all(subscriptions)
    stop()
    say(`${subscriptions.length} subscriptions while publications came from other nodes`)
  },
}
