// Bare ws: one send for each subscriber, as its documentation shows. Two nodes are joined by core NATS.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from '@nats-io/transport-node'
import { WebSocketServer, type WebSocket } from 'ws'
import { answerParent } from './answer-parent.js'

const [servers] = process.argv.slice(2)
const subject = 'bench'
const [s, p, e] = Buffer.from('spe')
const subscribers = new Set<WebSocket>()

const send = (socket: WebSocket, message: Uint8Array) => socket.send(message, { binary: false })
const deliver = (message: Uint8Array) => {
  for (const socket of subscribers) send(socket, message)
}

let publish = deliver
if (servers !== undefined) {
  const nats = await connect({ servers })
  nats.subscribe(subject, { callback: (_error, { data }) => deliver(data) })
  await nats.flush()
  publish = (message) => nats.publish(subject, message)
}

const server = createServer()
new WebSocketServer({ server }).on('connection', (socket) => {
  socket.on('message', (message: Buffer) => {
    if (message[0] === p) return publish(message)
    if (message[0] === s) subscribers.add(socket)
    if (message[0] === s || message[0] === e) send(socket, message)
  })
  socket.on('close', () => subscribers.delete(socket))
  socket.send('ready')
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
answerParent(server)
