import { createPublisher, type Publisher } from '@everwire/bus-nats'
import { randomBase32, systemClock } from '@everwire/core'
import { startNats, type Nats } from '@everwire/testkit/nats-server'
import fastify from 'fastify'
import type { Demo, DemoOptions } from '../app.js'
import { prefix } from '../application.js'
import { assertPage, builtPage, loopback, pageUrl, rememberVisitors } from '../front.js'
import { UsageError } from '../options.js'
import { addPage } from '../page-routes.js'
import { createPathProxy, type PathProxy } from '../path-proxy.js'
import { addPathRoutes } from '../path-routes.js'
import { startPublishers } from '../publishers.js'
import { addNodeRoutes } from './node-routes.js'
import { createNodes, type Nodes } from './nodes.js'

export interface NodesDemoOptions extends DemoOptions {
  /** How many, from 2. */
  nodes: number
}

export interface NodesDemo extends Omit<Demo, 'everwire'> {
  /** Addresses of the NATS that joins the nodes; there once it is started. */
  readonly natsUrl: string | undefined
}

const publisherCloseMs = 1_000

/**
 * The demo with several nodes, each a process of its own, on one NATS. This process is the front: the page, the controls,
 * and the proxy, which visitors break and which gives each request to the next node that is ready.
 */
export function createNodesDemo(options: NodesDemoOptions): NodesDemo {
  const {
    port = 0,
    host = loopback,
    logger = false,
    publicDir = builtPage,
    natsPrefix,
    nodes: count,
  } = options
  const app = fastify({ logger, forceCloseConnections: true })
  const visitors = rememberVisitors()
  let nats: Nats | undefined
  let { natsUrl } = options
  let nodes: Nodes | undefined
  let publisher: Publisher | undefined
  let proxy: PathProxy | undefined
  let stopPublishers = () => {}
  let starting: Promise<unknown> | undefined
  let closing: Promise<void> | undefined

  const close = async () => {
    // What is being started now would stay behind.
    await starting?.catch(() => {})
    stopPublishers()
    visitors.close()
    // NATS may be gone already: Ctrl-C in a terminal ends every process there.
    await Promise.race([publisher?.close().catch(() => {}), sleep(publisherCloseMs)])
    await nodes?.close()
    await app.close()
    await proxy?.close()
    await nats?.stop()
  }

  const open = async () => {
    assertPage(publicDir)
    natsUrl ??= (nats = await startNats().catch(cannotStart)).url
    nodes = createNodes({
      count,
      natsUrl,
      ...(natsPrefix ? { natsPrefix } : {}),
      failed: (error) => app.log.error({ err: error }, 'demo: a node could not start'),
    })
    await nodes.start()
    const { next } = nodes
    publisher = await createPublisher({
      servers: natsUrl.split(','),
      ...(natsPrefix ? { prefix: natsPrefix } : {}),
    })
    await app.register(addPage, { publicDir })
    await app.register(addPathRoutes, { visitors, cut: (visitor, names) => proxy?.cut(visitor, names) })
    await app.register(addNodeRoutes, { nodes })
    await app.ready()
    proxy = await createPathProxy({
      target() {
        const port = next()
        return port === undefined ? undefined : { host: loopback, port }
      },
      answer: (request, response) => app.routing(request, response),
      prefix,
      visitors,
      port,
      host,
    })
    const { publish } = publisher
    stopPublishers = startPublishers({ name: randomBase32(12), publish }, systemClock, (error) =>
      app.log.error({ err: error }, 'demo: publishing failed'),
    )
    return { host, port: proxy.port, url: pageUrl(host, proxy.port) }
  }

  return {
    get natsUrl() {
      return natsUrl
    },
    start: () => {
      const opening = open()
      starting = opening
      return opening.catch(async (error: unknown) => {
        await (closing ??= close())
        throw error
      })
    },
    close: () => (closing ??= close()),
  }
}

const sleep = (ms: number) => new Promise<void>((resolve) => void systemClock.after(ms, resolve))

function cannotStart(cause: unknown): never {
  // What it wrote may be several lines.
  const why = (cause as Error).message.replace(/\s*\n\s*/g, '; ')
  throw new UsageError(`Several nodes need nats-server: ${why}`, { cause })
}
