// Everwire with WebSocket only and a live channel. Two nodes are joined by the bus on NATS.
import { nats } from '@everwire/bus-nats'
import { everwire } from '@everwire/server'
import { webSocket } from '@everwire/transport-websocket/server'
import Fastify from 'fastify'
import { answerParent } from './answer-parent.js'

const [servers] = process.argv.slice(2)
const app = Fastify()
await app.register(everwire, {
  transports: [webSocket()],
  authenticate: () => ({ userId: null }),
  bus: servers === undefined ? undefined : nats({ servers }),
})
app.everwire.channel('bench:*', { subscribe: true, publish: true })
app.everwire.method('echo', (_session, input) => input)
await app.listen({ port: 0, host: '127.0.0.1' })
answerParent(app.server)
