import { memoryBus } from 'everwire/server'
import t from 'tap'
import { controlChannel } from '../src/change.js'
import { createPolling, type PollingOptions, type PollOptions } from '../src/client.js'
import { channel, createWatch, revisionOf, startOrders } from './orders-node.js'

// The client against real nodes, with a route that is written by hand.

type Orders = { n: number }

function start(
  t: Parameters<typeof startOrders>[0],
  url: string,
  options: PollingOptions = {},
  poll: Partial<PollOptions<Orders>> = {},
) {
  const polling = createPolling(options)
  t.teardown(() => polling.close())
  const shown: number[] = []
  const errors: string[] = []
  const states: string[] = []
  const { look, until } = createWatch()
  const orders = polling.poll<Orders>({
    url,
    intervalMs: 200,
    ...poll,
    onData(data) {
      shown.push(data.n)
      look()
    },
    onError(error) {
      errors.push(error.code)
      look()
    },
  })
  orders.on('state', (state) => {
    states.push(state)
    look()
  })
  return { polling, orders, shown, errors, states, until }
}

const rises = (numbers: readonly number[]) => numbers.every((n, at) => at === 0 || n > numbers[at - 1]!)

t.test('polls once, goes live, and shows what is published', async (t) => {
  const node = await startOrders(t)
  const { orders, shown, until } = start(t, node.url)
  t.equal(orders.state, 'polling')
  await until(() => orders.state === 'live')
  const { asked } = node
  await node.write({ n: 1 })
  await node.write({ n: 2 })
  await until(() => orders.data?.n === 2)
  t.strictSame(shown, [0, 1, 2])
  t.equal(node.asked, asked)
  t.equal(node.app.everwire.sessions().length, 1)
})

t.test('nothing is lost between an answer and its subscription', async (t) => {
  let n = 0
  const node = await startOrders(t, {
    // One write in the handler, after it has read; others follow at any time.
    answering: async () => {
      if (Math.random() < 0.5) await node.write({ n: ++n })
    },
  })
  for (let round = 0; round < 25; round++) {
    const { polling, orders, shown, until } = start(t, node.url, {}, { intervalMs: 60_000 })
    for (let writes = 0; writes < 4; writes++) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 12))
      void node.write({ n: ++n })
    }
    await until(() => orders.state === 'live' && orders.data?.n === n)
    t.ok(rises(shown), `shows ${shown.join(' ')}`)
    polling.close()
  }
})
