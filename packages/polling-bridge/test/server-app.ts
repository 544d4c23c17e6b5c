import type { Bus, Clock } from '@everwire/core'
import { createFakeClock, type FakeClock } from '@everwire/testkit'
import { everwire, memoryBus } from 'everwire/server'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { pollingBridge, type PollingBridgeOptions } from '../src/server.js'

export interface NodeOptions {
  bus?: Bus
  clock?: FakeClock
  bridge?: PollingBridgeOptions
  /** Registered between the bridge and the routes. */
  plugins?: (app: FastifyInstance) => void | Promise<void>
  routes(app: FastifyInstance): void
}

export interface Node {
  app: FastifyInstance
  clock: FakeClock
  logs: { level: number; msg: string; err?: { message: string } }[]
}

/** A node whose time stands still, not ready yet. */
export async function createNode(
  t: Test,
  { bus, clock = createFakeClock(), bridge, plugins, routes }: NodeOptions,
): Promise<Node> {
  const logs: Node['logs'] = []
  const app = Fastify({
    logger: { level: 'info', stream: { write: (line: string) => logs.push(JSON.parse(line)) } },
  })
  await app.register(everwire, {
    authenticate: ({ token }) => ({ userId: token ?? null }),
    streamMs: 3_600_000,
    serverKeys: ['server-key-for-tests-0123456789abcdef'],
    bus,
    clock,
  })
  app.everwire.channel('orders:*', { history: { size: 100 }, subscribe: true })
  await app.register(pollingBridge, { clock: clock as Clock, ...bridge })
  await plugins?.(app)
  routes(app)
  t.teardown(() => app.close())
  return { app, clock, logs }
}

/** The same, ready. */
export async function startNode(t: Test, options: NodeOptions): Promise<Node> {
  const node = await createNode(t, options)
  await node.app.ready()
  return node
}

/** A bus of several nodes, which none of them closes. */
export function sharedBus(t: Test, clock?: Clock): Bus {
  const bus = memoryBus({ clock })
  t.teardown(() => bus.close())
  return { ...bus, open: (context) => bus.open(context), close: async () => {} }
}

/** Resolves once a turn of the event loop finds it so; fails the test when it never is. */
export async function until(isSo: () => boolean, what: string): Promise<void> {
  for (let turns = 0; turns < 5_000; turns++) {
    if (isSo()) return
    await new Promise((resolve) => setImmediate(resolve))
  }
  throw new Error(`never: ${what}`)
}
