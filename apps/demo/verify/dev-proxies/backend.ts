import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { everwire } from 'everwire/server'
import Fastify from 'fastify'

/** The server that a dev server stands in front of. */
export interface Backend {
  port: number
  /** Sessions that it keeps, and how many of them have a link. */
  sessions(): { kept: number; linked: number }
  publish(number: number): Promise<void>
  close(): Promise<void>
}

/** @param origins of pages whose dev server sends requests on under the backend's own name, but with their origin */
export async function startBackend(origins: readonly string[] = []): Promise<Backend> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(everwire, { authenticate: () => ({ userId: null }), origins, drainNoticeMs: 0 })
  app.everwire.channel('room:*', { history: { size: 10 }, subscribe: true })
  const { port } = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
  return {
    port: Number(port),
    sessions() {
      const sessions = app.everwire.sessions()
      return { kept: sessions.length, linked: sessions.filter(({ transport }) => transport).length }
    },
    publish: async (number) => void (await app.everwire.publish('room:a', 'number', number)),
    close: () => app.close(),
  }
}

/** A port that nobody listens to. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}
