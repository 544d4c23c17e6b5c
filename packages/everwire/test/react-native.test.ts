import { createFaultProxy } from '@everwire/testkit'
import Fastify from 'fastify'
import t from 'tap'
import { everwire } from '../src/server.js'
import { bundleClient, createReactNative } from './react-native/runtime.js'

// The client in a context that has only what React Native has. Nothing of Node is in reach of it.

const script = await bundleClient()

// Runs inside: what comes out is JSON, because the values of a context are not those of another.
const program = (url: string) => `
  const client = Everwire.createClient({ url: '${url}', getToken: () => 'secret', backoffMs: 20, linkTimeoutMs: 1500 })
  const states = []
  client.on('state', ({ state }) => states.at(-1) === state || states.push(state))
  const room = client.channel('room:a')
  const seen = []
  const waiting = new Set()
  const changed = () => waiting.forEach((check) => check())
  const until = (ready) => new Promise((resolve) => {
    const check = () => ready() && waiting.delete(check) && resolve()
    waiting.add(check)
    check()
  })
  client.on('state', changed)
  room.on('*', (data, { event }) => {
    seen.push(data instanceof Uint8Array ? [event, 'bytes', ...data] : [event, data])
    changed()
  })
  room.on('gap', ({ reason }) => seen.push(['gap', reason]))
  globalThis.app = {
    start: async () => {
      await room.subscribe()
      const { offset } = await room.publish('text', { text: 'grüße 👋\\r\\n' })
      await room.publish('bytes', new Uint8Array([0, 13, 10, 255]))
      await until(() => seen.length === 2)
      const reply = await client.request('double', { number: 21 })
      const refused = await client.channel('none:a').subscribe().catch((error) => error instanceof Everwire.EverwireError && error.code)
      return JSON.stringify({ seen, reply, refused, stored: offset > 0, transport: client.transport, user: client.userId })
    },
    sees: async (count) => {
      await until(() => seen.length >= count && client.state === 'connected')
      const { sessions, resumes } = client.stats()
      return JSON.stringify({ seen: seen.slice(2), states, sessions, resumes, transport: client.transport })
    },
    use: (name) => client.explain().transports.find((one) => one.name === name).use,
    close: () => client.close(),
  }`

interface App {
  start(): Promise<string>
  sees(count: number): Promise<string>
  use(transport: string): string
  close(): void
}

for (const hasTextDecoder of [true, false])
  for (const blocked of [false, true]) {
    const version = hasTextDecoder ? 'React Native 0.85' : 'React Native 0.76, without TextDecoder,'
    const wanted = blocked ? 'long-polling' : 'websocket'
    t.test(`${version} works over ${wanted}`, async (t) => {
      const server = Fastify({ forceCloseConnections: true })
      await server.register(everwire, {
        authenticate: ({ token }) => (token === 'secret' ? { userId: 'ann' } : null),
      })
      server.everwire.channel('room:*', { history: { size: 10 }, subscribe: true, publish: true })
      server.everwire.method('double', (_session, input) => ({
        number: (input as { number: number }).number * 2,
      }))
      const { port } = new URL(await server.listen({ port: 0, host: '127.0.0.1' }))
      const proxy = await createFaultProxy({
        target: { host: '127.0.0.1', port: Number(port) },
        decide: ({ headers }) => (blocked && headers.upgrade ? { refuse: 403 } : {}),
      })
      const runtime = createReactNative({ hasTextDecoder })
      t.teardown(async () => {
        runtime.close()
        await proxy.close()
        await server.close()
      })

      runtime.run(script)
      runtime.run(program(`http://127.0.0.1:${proxy.port}/everwire`))
      const app = runtime.run('app') as App
      t.strictSame(JSON.parse(await app.start()), {
        seen: [
          ['text', { text: 'grüße 👋\r\n' }],
          ['bytes', 'bytes', 0, 13, 10, 255],
        ],
        reply: { number: 42 },
        refused: 'unknown-channel',
        stored: true,
        transport: wanted,
        user: 'ann',
      })
      if (blocked) t.equal(app.use('sse'), 'unsupported')

      t.ok(proxy.cut() > 0)
      await server.everwire.publish('room:a', 'missed', 'while away')
      t.match(JSON.parse(await app.sees(3)), {
        seen: [['missed', 'while away']],
        states: ['connecting', 'connected', 'reconnecting', 'connected'],
        sessions: 1,
        resumes: 1,
        transport: wanted,
      })
      app.close()
      t.strictSame(runtime.log, [], 'it writes nothing to the console')
    })
  }

t.test('an address that is not absolute is refused at once', (t) => {
  const runtime = createReactNative({ hasTextDecoder: false })
  runtime.run(script)
  for (const url of ['/everwire', 'everwire', ''])
    t.throws(() => runtime.run(`Everwire.createClient({ url: '${url}' })`), /url must be absolute/, url)
  t.end()
})
