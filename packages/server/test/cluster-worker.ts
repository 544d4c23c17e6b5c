import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { everwire, memoryBus } from '../src/index.js'

// One worker of lone-process.test.ts. What it logs goes to its primary.

const tell = (message: object) => process.send!(message)
const bus = memoryBus()

const app = Fastify({
  logger: { level: 'warn', stream: { write: (line: string) => tell({ log: JSON.parse(line).msg }) } },
})
await app.register(everwire, {
  transports: [{ name: 'none', register: () => {} }],
  authenticate: () => ({ userId: null }),
  // Of more than it has descriptors for it would warn too.
  maxSessions: 100,
  bus: process.env.SHARED_BUS ? { ...bus, name: 'shared' } : bus,
})
await app.listen({ port: 0, host: '127.0.0.1' })
tell({ port: (app.server.address() as AddressInfo).port })
process.once('message', async () => {
  await app.close()
  process.disconnect()
})
