import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { nats } from '@everwire/bus-nats'
import { systemClock } from '@everwire/core'
import { everwire, type Everwire } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import { webSocket } from '@everwire/transport-websocket/server'
import fastify, { type FastifyRequest, type FastifyServerOptions } from 'fastify'
import { addChannels, type Claims } from './channels.js'
import { createPathProxy, type PathProxy } from './path-proxy.js'
import { addPathRoutes } from './path-routes.js'
import { addPage } from './page-routes.js'
import { startPublishers } from './publishers.js'
import { createVisitors, publicName, visitorOf } from './visitors.js'

export interface DemoOptions {
  /** Of the proxy, which is what visitors talk to; 0 takes any free one. @default 0 */
  port?: number
  /** @default '127.0.0.1' */
  host?: string
  /** Fastify's. @default false */
  logger?: FastifyServerOptions['logger']
  /** Addresses of NATS servers, joined by commas; without them the bus is in the process. */
  natsUrl?: string
  /** First tokens of the subjects on NATS. @default 'ew' */
  natsPrefix?: string
  /** Folder of the built page. @default dist/public */
  publicDir?: string
}

export interface Demo {
  /** The application's Everwire; there once it is started. */
  readonly everwire: Everwire
  /** Rejects with an error whose code is EADDRINUSE when the port is taken. Resolves with the address of the page. */
  start(): Promise<{ host: string; port: number; url: string }>
  /** Says goodbye to every client. Safe to call twice. */
  close(): Promise<void>
}

const builtPage = fileURLToPath(new URL('../dist/public', import.meta.url))
const prefix = '/everwire'
const mostVisitors = 1_000
const visitorIdleMs = 15 * 60_000
const loopback = '127.0.0.1'

/** The demo: the application on a port of its own, and before it the proxy that visitors break. */
export function createDemo(options: DemoOptions = {}): Demo {
  const { port = 0, host = loopback, logger = false, publicDir = builtPage, natsUrl, natsPrefix } = options
  const app = fastify({ logger, forceCloseConnections: true })
  const visitors = createVisitors({ clock: systemClock, most: mostVisitors, idleMs: visitorIdleMs })
  let proxy: PathProxy | undefined
  let stopPublishers = () => {}
  let closing: Promise<void> | undefined

  const close = async () => {
    stopPublishers()
    visitors.close()
    // The application first: its goodbye still has to get through.
    await app.close()
    await proxy?.close()
  }

  const listen = async () => {
    if (!existsSync(path.join(publicDir, 'index.html')))
      throw new Error('The page is not built yet: npm start builds it.')
    await app.register(everwire, {
      prefix,
      transports: [webSocket(), sse(), longPolling()],
      ...(natsUrl ? { bus: nats({ servers: natsUrl.split(','), prefix: natsPrefix }) } : {}),
      authenticate: ({ request }) => {
        const visitor = visitorOf((request as FastifyRequest).headers.cookie)
        const claims: Claims = { visitor: visitor === undefined ? '' : publicName(visitor) }
        return { userId: null, claims }
      },
      maxSessions: 500,
      // Room for a busy stream during an outage; a session that cannot keep it recovers from the history instead.
      outboxFrames: 20_000,
      outboxBytes: 4_194_304,
      maxOperations: 10_000,
    })
    addChannels(app.everwire, systemClock)
    await app.register(addPage, { publicDir })
    await app.register(addPathRoutes, {
      visitors,
      cut: (visitor, names) => proxy?.cut(visitor, names),
    })
    await app.listen({ port: 0, host: loopback })
    const address = app.server.address() as { port: number }
    proxy = await createPathProxy({
      target: { host: loopback, port: address.port },
      prefix,
      visitors,
      port,
      host,
    })
    stopPublishers = startPublishers(app.everwire, systemClock, (error) =>
      app.log.error({ err: error }, 'demo: publishing failed'),
    )
    return { host, port: proxy.port, url: pageUrl(host, proxy.port) }
  }

  return {
    get everwire() {
      return app.everwire
    },
    start: () =>
      listen().catch(async (error: unknown) => {
        await (closing ??= close())
        throw error
      }),
    close: () => (closing ??= close()),
  }
}

/** The address to type: every machine calls itself localhost. */
function pageUrl(host: string, port: number): string {
  if ([loopback, '0.0.0.0', '::', '::1', 'localhost'].includes(host)) return `http://localhost:${port}`
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}
