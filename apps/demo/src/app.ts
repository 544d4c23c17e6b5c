import { systemClock } from '@everwire/core'
import type { Everwire } from '@everwire/server'
import fastify, { type FastifyServerOptions } from 'fastify'
import { addEverwire, prefix } from './application.js'
import { assertPage, builtPage, loopback, pageUrl, rememberVisitors } from './front.js'
import { addNodeRoutes } from './nodes/node-routes.js'
import { addPage } from './page-routes.js'
import { createPathProxy, type PathProxy } from './path-proxy.js'
import { addPathRoutes } from './path-routes.js'
import { startPublishers } from './publishers.js'

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

/** The demo: the application on a port of its own, and before it the proxy that visitors break. */
export function createDemo(options: DemoOptions = {}): Demo {
  const { port = 0, host = loopback, logger = false, publicDir = builtPage, natsUrl, natsPrefix } = options
  const app = fastify({ logger, forceCloseConnections: true })
  const visitors = rememberVisitors()
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
    assertPage(publicDir)
    await addEverwire(app, { natsUrl, natsPrefix })
    await app.register(addPage, { publicDir })
    await app.register(addPathRoutes, {
      visitors,
      cut: (visitor, names) => proxy?.cut(visitor, names),
    })
    await app.register(addNodeRoutes, {})
    await app.listen({ port: 0, host: loopback })
    const address = app.server.address() as { port: number }
    proxy = await createPathProxy({
      target: () => ({ host: loopback, port: address.port }),
      prefix,
      visitors,
      port,
      host,
    })
    const { nodeId, publish } = app.everwire
    stopPublishers = startPublishers({ name: nodeId, publish }, systemClock, (error) =>
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
