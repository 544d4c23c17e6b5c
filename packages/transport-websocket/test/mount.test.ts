import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import cors from '@fastify/cors'
import rateLimit from '@fastify/rate-limit'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import { createClient } from '@everwire/client'
import { everwire } from '@everwire/server'
import { webSocket } from '@everwire/transport-websocket/client'
import { webSocket as webSocketServer } from '@everwire/transport-websocket/server'

// An application that has all of it already: WebSockets of its own, CORS, a rate limit, a prefix.

t.test(
  'mounts in an application that has an upgrade route of its own, and both work on one port',
  async (t) => {
    const app = Fastify()
    await app.register(cors, { origin: ['https://own.example', 'https://page.example'] })
    await app.register(rateLimit, { max: 20, timeWindow: 60_000 })
    await app.register(websocket)
    await app.register(
      async (api) => {
        api.get('/hello', async () => ({ hello: 'world' }))
        api.get('/echo', { websocket: true }, (socket) => {
          socket.on('message', (data: Buffer) => socket.send(`own ${String(data)}`))
        })
        await api.register(everwire, {
          prefix: '/live',
          transports: [webSocketServer()],
          authenticate: () => ({ userId: 'ann' }),
          origins: ['https://page.example'],
        })
        api.everwire.channel('chat:*', { history: {}, subscribe: true, publish: true })
      },
      { prefix: '/api' },
    )
    await app.listen({ port: 0, host: '127.0.0.1' })
    const address = `127.0.0.1:${(app.server.address() as AddressInfo).port}`
    const client = createClient({
      url: `http://${address}/api/live`,
      transports: [webSocket({ WebSocket: WebSocket as never })],
    })
    t.teardown(async () => {
      client.close()
      await app.close()
    })

    const own = new WebSocket(`ws://${address}/api/echo`)
    await once(own, 'open')
    own.send('hi')
    const [answer] = (await once(own, 'message')) as [Buffer]
    t.equal(String(answer), 'own hi')

    const channel = client.channel('chat:lobby')
    const received = new Promise((resolve) => channel.on('message', resolve))
    await channel.subscribe()
    await channel.publish('message', { text: 'hi' })
    t.same(await received, { text: 'hi' })

    own.send('again')
    const [again] = (await once(own, 'message')) as [Buffer]
    t.equal(String(again), 'own again', 'the one goes on beside the other')
    own.close()

    // CORS is the application's, who may connect is Everwire's.
    const plain = await fetch(`http://${address}/api/hello`, { headers: { origin: 'https://own.example' } })
    t.equal(plain.headers.get('access-control-allow-origin'), 'https://own.example')
    const open = (origin: string) =>
      fetch(`http://${address}/api/live/session`, {
        method: 'POST',
        headers: { origin, 'content-type': 'application/json' },
        body: '{"v":1}',
      })
    const allowed = await open('https://page.example')
    t.equal(allowed.status, 200)
    t.equal(allowed.headers.get('access-control-allow-origin'), 'https://page.example')
    t.equal((await open('https://own.example')).status, 403)

    // The application's rate limit holds for Everwire's requests too, and answers in its own way.
    const statuses = new Set<number>()
    for (let i = 0; i < 25; i++) statuses.add((await open('https://page.example')).status)
    t.ok(statuses.has(429), [...statuses].join(' '))
  },
)
