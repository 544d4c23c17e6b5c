// socket.io with WebSocket only, as its documentation shows. Two nodes are joined by its Redis adapter.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createAdapter } from '@socket.io/redis-adapter'
import { Redis } from 'ioredis'
import { Server } from 'socket.io'
import { answerParent } from './answer-parent.js'

const [redis] = process.argv.slice(2)
const room = 'bench'
const server = createServer()
const io = new Server(server, { transports: ['websocket'], serveClient: false })

if (redis !== undefined) {
  const publisher = new Redis(redis)
  const subscriber = publisher.duplicate()
  io.adapter(createAdapter(publisher, subscriber))
  // The adapter does not tell when it is subscribed; a ping is answered after that.
  await subscriber.ping()
}

io.on('connection', (socket) => {
  socket.on('subscribe', async (answer: () => void) => {
    await socket.join(room)
    answer()
  })
  socket.on('publish', (payload: unknown) => io.to(room).emit('message', payload))
  socket.on('echo', (payload: unknown, answer: (payload: unknown) => void) => answer(payload))
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
answerParent(server)
