import t from 'tap'
import { startNode, type Node } from './memory-transport.js'

const values = async ({ app }: Node, name: string) => {
  const { values } = (await app.everwire.metrics.getSingleMetric(name)!.get()) as {
    values: { labels: Record<string, string>; value: number }[]
  }
  return Object.fromEntries(
    values.map(({ labels: { transport, result, code }, value }) => [`${transport} ${result ?? code}`, value]),
  )
}

t.test('attaches are counted by transport and what became of them', async (t) => {
  const node = await startNode(t, {
    authenticate: ({ token }) => {
      if (token === 'odd') throw Object.assign(new Error('odd'), { code: 'x' })
      return token === 'bad' ? null : { userId: null }
    },
  })
  const peer = await node.connect()
  peer.send(['seen', 0])
  const again = await peer.again()
  await again.again({ gen: 2, poll: 1 })
  for (const attach of [{ token: 'bad' }, { token: 'odd' }, { v: 2 }, { cursor: 5 }])
    await node.connect(attach)
  t.strictSame(await values(node, 'everwire_attaches_total'), {
    'memory opened': 1,
    'memory resumed': 1,
    'memory unauthorized': 1,
    'memory internal': 1,
    'memory version': 1,
    'memory unknown-session': 1,
  })
})

t.test('links that ended are counted by code, and nobody makes codes up', async (t) => {
  const node = await startNode(t)
  const cut = await node.connect()
  cut.cut()
  const closed = await node.connect()
  closed.send(['close', 'made-up'])
  const own = await node.connect()
  own.send(['close', 'app:mine'])
  await (await node.connect()).again()
  await node.connect({ v: 2 })
  await node.clock.settle()
  t.strictSame(await values(node, 'everwire_links_ended_total'), {
    'memory link-lost': 1,
    'memory other': 2,
    'memory superseded': 1,
  })
})
