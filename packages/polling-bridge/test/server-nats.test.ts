import { nats } from '@everwire/bus-nats'
import { startNats } from '@everwire/testkit/nats-server'
import { createClient, webSocket } from 'everwire/client'
import { everwire } from 'everwire/server'
import Fastify from 'fastify'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import { readLink } from '../src/announcement.js'
import type { Changes } from '../src/change.js'
import { pollingBridge } from '../src/server.js'

// Two nodes on a real bus, with the clock of the machine.
const server = await startNats()
t.teardown(() => server.stop())

const state = { value: 0, readBy: '' }

async function startNode(name: string) {
  const app = Fastify()
  await app.register(everwire, {
    authenticate: () => ({ userId: null }),
    bus: nats({ servers: server.url, prefix: 'bridge' }),
    drainMs: 1_000,
  })
  app.everwire.channel('orders:*', { history: { size: 100 }, subscribe: true })
  await app.register(pollingBridge)
  const read = () => {
    state.readBy = name
    return { value: state.value }
  }
  app.get('/orders', { config: { poll: { channel: 'orders:all', source: read } } }, async () => ({
    value: state.value,
  }))
  app.get('/quiet', { config: { poll: { channel: 'orders:quiet', watchMs: false } } }, async () => ({
    value: state.value,
  }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  return { app, url, name, id: app.everwire.nodeId }
}

async function follow(url: string, channel: string) {
  const client = createClient({ url: `${url}/everwire`, transports: [webSocket({ WebSocket })] })
  const heard: { data: { value: number } }[] = []
  const waiting = new Map<number, () => void>()
  const subscription = client.channel(channel)
  subscription.on('snapshot', (data) => {
    const snapshot = data as Changes['snapshot'] & { data: { value: number } }
    heard.push(snapshot)
    waiting.get(snapshot.data.value)?.()
  })
  await subscription.subscribe()
  return {
    close: () => client.close(),
    value: async (value: number) => {
      if (!heard.some(({ data }) => data.value === value))
        await new Promise<void>((resolve) => waiting.set(value, resolve))
    },
  }
}

/** Waits for what only other nodes can bring about. */
async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + 15_000
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`never: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const nodes = [await startNode('one'), await startNode('two')]
t.teardown(() => Promise.all(nodes.map(({ app }) => app.close())))
const [one, two] = nodes as [(typeof nodes)[0], (typeof nodes)[0]]
const linkOf = async (url: string) => readLink((await fetch(`${url}/orders`)).headers.get('link'))

t.test('both nodes name the same state at the same place', async (t) => {
  await one.app.pollingBridge.changed('orders:all')
  await until(async () => {
    const links = [await linkOf(one.url), await linkOf(two.url)]
    return links[0] !== undefined && JSON.stringify(links[0]) === JSON.stringify(links[1])
  }, 'the announcements are the same')
  t.match(await linkOf(two.url), { channel: 'orders:all' })
})

t.test('a client of the other node hears what one publishes', async () => {
  const client = await follow(two.url, 'orders:quiet')
  state.value = 1
  await one.app.pollingBridge.changed('orders:quiet')
  await client.value(1)
  client.close()
})

t.test('a switch at one node switches the other', async (t) => {
  await one.app.pollingBridge.set({ mode: 'polling' })
  await until(() => two.app.pollingBridge.state().mode === 'polling', 'the other is switched')
  t.equal(await linkOf(two.url), undefined)
  await two.app.pollingBridge.set({})
  await until(() => one.app.pollingBridge.state().mode === 'live', 'it is switched back')
})

t.test('the node that reads closes, and the other goes on', async (t) => {
  const clients = [await follow(one.url, 'orders:all'), await follow(two.url, 'orders:all')]
  state.value = 2
  await Promise.all(clients.map((client) => client.value(2)))
  await until(() => {
    const leaders = nodes.map(({ app }) => app.pollingBridge.state().watched[0]?.leader)
    return leaders[0] !== undefined && leaders[0] === leaders[1]
  }, 'they agree')
  nodes.sort((first, second) => (first.id < second.id ? -1 : 1))
  const [leader, other] = nodes as [typeof one, typeof two]
  t.equal(other.app.pollingBridge.state().watched[0]!.leader, leader.id)
  const closing = leader.app.close()
  state.readBy = ''
  await until(() => state.readBy === other.name, 'the other reads')
  state.value = 3
  await clients[[one, two].indexOf(other)]!.value(3)
  for (const client of clients) client.close()
  await closing
})
