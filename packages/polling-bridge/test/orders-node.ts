import { createHash } from 'node:crypto'
import type { Bus, Position } from '@everwire/core'
import { everwire, type Credentials } from 'everwire/server'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import { formatLink } from '../src/announcement.js'
import { controlChannel } from '../src/change.js'

export const channel = 'orders:all'

/** What the nodes share: a database of one document. */
export interface Store {
  data: unknown
}

export const revisionOf = (data: unknown) =>
  createHash('sha256').update(JSON.stringify(data)).digest('base64url').slice(0, 16)

export interface OrdersNodeOptions {
  store?: Store
  bus?: Bus
  port?: number
  announced?: () => boolean
  authenticate?: (credentials: Credentials) => { userId: string | null } | null
  /** Asked before the route answers. */
  allow?: (request: FastifyRequest) => boolean
  /** The handler has read, and the answer is on its way. */
  answering?: () => void | Promise<void>
}

interface Answered {
  status: number
  mode: string | undefined
}

/** A node whose route does by hand what the server half of the bridge does. */
export async function startOrders(t: Test, options: OrdersNodeOptions = {}) {
  const { store = { data: { n: 0 } }, authenticate = () => ({ userId: null }) } = options
  let asked = 0
  let subscriptions = 0
  const seen: Answered[] = []
  const { look, until } = createWatch()
  const app = Fastify({ forceCloseConnections: true })
  await app.register(everwire, { authenticate, ...(options.bus && { bus: options.bus }) })
  app.everwire.channel('orders:*', {
    history: { size: 1000 },
    subscribe() {
      subscriptions++
      look()
      return true
    },
  })
  app.everwire.channel(controlChannel, { history: { size: 1 }, subscribe: true })
  let newest: Position | undefined

  app.get('/api/orders', async (request, reply: FastifyReply) => {
    asked++
    if (options.allow && !options.allow(request)) return await reply.code(401).send({ error: 'no' })
    const position = newest
    const { data } = store
    await options.answering?.()
    const revision = revisionOf(data)
    const etag = `W/"${revision}"`
    void reply.headers({ etag, 'cache-control': 'no-cache' })
    if (position && (options.announced?.() ?? true)) {
      const href = `/everwire/channels/${encodeURIComponent(channel)}`
      void reply.header('link', formatLink({ channel, position, revision, href }))
    }
    const status = request.headers['if-none-match'] === etag ? 304 : 200
    seen.push({ status, mode: request.headers['everwire-mode'] as string | undefined })
    look()
    return await reply.code(status).send(status === 200 ? data : undefined)
  })
  await app.ready()
  await app.everwire.follow(channel, {
    start: (position) => (newest = position),
    publication: ({ position }) => (newest = position),
    gap: (_reason, position) => (newest = position),
  })
  const address = await app.listen({ port: options.port ?? 0, host: '127.0.0.1' })
  t.teardown(() => app.close())

  /** Publishes go out in the order of the writes. */
  let publishing: Promise<unknown> = Promise.resolve()
  return {
    app,
    store,
    /** Resolves once there was such an answer. */
    answered: (isSuch: (answer: Answered) => boolean) => until(() => seen.some(isSuch)),
    /** Resolves once so many have subscribed. */
    subscribed: (count: number) => until(() => subscriptions >= count),
    url: `${address}/api/orders`,
    port: Number(new URL(address).port),
    get asked() {
      return asked
    },
    /** Writes, and publishes what became of it. */
    write(data: unknown, { silent = false } = {}) {
      const from = revisionOf(store.data)
      store.data = data
      if (silent) return Promise.resolve()
      publishing = publishing.then(() =>
        app.everwire.publish(channel, 'snapshot', { from, to: revisionOf(data), data }),
      )
      return publishing
    },
  }
}

/** Resolves once it is so; looked at again at each `look`. */
export function createWatch() {
  const waiting = new Set<() => void>()
  return {
    look: () => {
      for (const check of [...waiting]) check()
    },
    until: (isSo: () => boolean) =>
      new Promise<void>((resolve) => {
        const check = () => {
          if (!isSo()) return
          waiting.delete(check)
          resolve()
        }
        waiting.add(check)
        check()
      }),
  }
}
