import { nats } from '@everwire/bus-nats'
import { everwire } from '@everwire/server'
import { startNats } from '@everwire/testkit/nats-server'
import { sse } from '@everwire/transport-sse/server'
import Fastify from 'fastify'
import t, { type Test } from 'tap'

// Without a library, on two nodes that a real NATS joins: whoever is led to another node reads on.

const total = 400
const server = await startNats()
t.teardown(() => server.stop())
let places = 0

async function startNodes(t: Test) {
  const prefix = `library-free-${++places}`
  const start = async () => {
    // fetch opens connections ahead that never bring a request, and a server waits for those.
    const app = Fastify({ forceCloseConnections: true })
    await app.register(everwire, {
      transports: [sse()],
      authenticate: () => null,
      bus: nats({ servers: server.url, prefix }),
    })
    app.everwire.channel('open:*', { history: { size: 1_000 }, public: true })
    const address = await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(() => app.close())
    return { publish: app.everwire.publish, url: `${address}/everwire/channels` }
  }
  const first = await start()
  const nodes = [first, await start()] as const
  /** Publishes from both, one after the other, beside what other channels store. */
  const flow = async (channel: string) => {
    for (let n = 1; n <= total; n++) {
      await nodes[n % 2]!.publish(channel, 'n', n)
      if (n % 7 === 0) await first.publish(`open:other${n}`, 'n', n)
    }
  }
  return { nodes, flow }
}

const numbers = Array.from({ length: total }, (_, index) => index + 1)

t.test('polls that alternate between the nodes miss nothing, from an empty channel on', async (t) => {
  const { nodes, flow } = await startNodes(t)
  const now = await fetch(`${nodes[0].url}/open:a?offset=now`)
  let offset = now.headers.get('stream-next-offset')!
  const flowing = flow('open:a')
  const seen: number[] = []
  for (let polls = 1; seen.length < total; polls++) {
    const response = await fetch(`${nodes[polls % 2]!.url}/open:a?live=long-poll&offset=${offset}`)
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
    for (const { data } of (await response.json()) as { data: number }[]) seen.push(data)
    offset = response.headers.get('stream-next-offset')!
  }
  await flowing
  t.strictSame(seen, numbers)
})

t.test('event streams that are cut, and resumed on the other node, miss nothing', async (t) => {
  const { nodes, flow } = await startNodes(t)
  const flowing = flow('open:a')
  const seen: number[] = []
  const others: string[] = []
  let id = '-1'
  for (let streams = 1; seen.length < total; streams++) {
    const controller = new AbortController()
    const headers = { accept: 'text/event-stream', 'last-event-id': id }
    const response = await fetch(`${nodes[streams % 2]!.url}/open:a`, { headers, signal: controller.signal })
    let text = ''
    let fresh = 0
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      const events = (text + chunk).split('\n\n')
      text = events.pop()!
      others.push(...events.filter((event) => event.startsWith('event:')))
      for (const event of events) {
        const [, token, data] = /^id: (\S+)\ndata: (.*)$/.exec(event) ?? []
        if (token === undefined || fresh === 50) continue
        id = token
        fresh++
        seen.push((JSON.parse(data!) as { data: number }).data)
      }
      if (fresh === 50 || seen.length === total) break
    }
    controller.abort()
  }
  await flowing
  t.strictSame([seen, others], [numbers, []])
})
