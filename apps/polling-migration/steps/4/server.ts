import { pollingBridge } from '@everwire/polling-bridge/server'
import { everwire, type Credentials } from 'everwire/server'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { bus, serverKeys } from '../../src/environment.js'
import { pages } from '../../src/pages.js'
import * as schemas from '../../src/schemas.js'
import { createStore, type Order } from '../../src/store.js'
import { bearerOf, userOf, users } from '../../src/users.js'

/** The shop: a REST API, and a page that polls it. */
export async function buildServer(): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'warn' } })
  const store = await createStore()
  app.addHook('onClose', async () => await store.close())
  await app.register(users)
  await app.register(pages)

  const authenticate = ({ token, request }: Credentials) => {
    const userId = userOf(request as FastifyRequest, token)
    return userId ? { userId } : null
  }
  await app.register(everwire, { authenticate, bus: bus(), serverKeys: serverKeys() })
  app.everwire.channel('orders:all', { history: {}, subscribe: true })
  app.everwire.channel('inbox:*', {
    history: {},
    subscribe: ({ userId }, channel) => channel === `inbox:${userId}`,
  })
  app.everwire.channel('desk:notes', {
    history: { size: 20 },
    subscribe: true,
    publish: true,
    showPublisher: true,
  })
  await app.register(pollingBridge, { user: ({ user }) => user, sourceHeaders: bearerOf })
  const allOrders = { channel: 'orders:all', shared: true, watchMs: false as const }
  const ownInbox = { channel: ({ user }: FastifyRequest) => `inbox:${user}`, watchMs: false as const }

  app.get('/api/orders', { schema: schemas.orders, config: { poll: allOrders } }, () => store.orders())
  app.post<{ Body: { item: string } }>(
    '/api/orders',
    { schema: schemas.newOrder },
    async (request, reply) => {
      const order = await store.addOrder(request.body.item)
      await app.pollingBridge.changed('orders:all')
      return await reply.code(201).send(order)
    },
  )
  app.patch<{ Params: { id: number }; Body: Pick<Order, 'status'> }>(
    '/api/orders/:id',
    { schema: schemas.status },
    async (request, reply) => {
      const order = await store.setStatus(request.params.id, request.body.status)
      await app.pollingBridge.changed('orders:all')
      return order ?? (await reply.code(404).send({ message: 'No such order.' }))
    },
  )

  app.get('/api/inbox', { config: { poll: ownInbox } }, ({ user }) => store.inbox(user))
  app.post<{ Body: { to: string; text: string } }>(
    '/api/inbox',
    { schema: schemas.letter },
    async (request, reply) => {
      const { to, text } = request.body
      const letter = await store.send(request.user, to, text)
      await app.pollingBridge.changed(`inbox:${to}`)
      return await reply.code(201).send(letter)
    },
  )
  return app
}
