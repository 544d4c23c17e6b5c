import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, type Client } from '@everwire/client'
import { createFaultProxy } from '@everwire/testkit'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'
import WebSocket from 'ws'
import { transportNames, type TransportName } from '../../src/networks.js'
import { until } from '../support/until.js'
import { startTcpRelay } from './paths/tcp.js'
import { prefix, type LabServer } from './server.js'

/** What one transport costs on the wire, below TLS and above TCP. */
export interface Cost {
  transport: TransportName
  /** In a minute of silence, both ways. */
  idle: { requests: number; bytes: number }
  /** Of one message to the client, and requests for so many of them. */
  down: { requests: number; bytes: number }
  /** The same for what the client publishes. */
  up: { requests: number; bytes: number }
}

const messages = 100
const everyMs = 50
const idleMs = 60_000
const data = { text: 'x'.repeat(89) }

const transports = { websocket: () => webSocket({ WebSocket }), sse, 'long-polling': longPolling }

/** Clients with one transport each, side by side. */
export const measureCosts = (server: LabServer): Promise<Cost[]> =>
  Promise.all(transportNames.map((transport) => measure(server, transport)))

async function measure(server: LabServer, transport: TransportName): Promise<Cost> {
  let requests = 0
  const proxy = await createFaultProxy({
    target: { host: server.host, port: server.port },
    decide: () => {
      requests++
      return {}
    },
  })
  const relay = await startTcpRelay(proxy)
  const connect = (): Client =>
    createClient({ url: relay.url + prefix, transports: [transports[transport]()] })
  const client = connect()
  // Publishes from beside, so that nothing of that goes along the path.
  const other = createClient({
    url: `http://${server.host}:${server.port}${prefix}`,
    transports: [webSocket({ WebSocket })],
  })
  try {
    const [read, written] = [`lab:read-${transport}`, `lab:written-${transport}`]
    let received = 0
    client.channel(read).on('n', () => received++)
    await client.channel(read).subscribe()
    const total = () => ({ requests, bytes: relay.bytes.up + relay.bytes.down })
    const during = async (act: () => Promise<void>) => {
      const before = total()
      await act()
      const after = total()
      return { requests: after.requests - before.requests, bytes: after.bytes - before.bytes }
    }
    const each = async (publish: () => Promise<unknown>) => {
      for (let i = 0; i < messages; i++) await Promise.all([publish(), sleep(everyMs)])
    }
    const idle = await during(() => sleep(idleMs))
    const down = await during(async () => {
      await each(() => other.channel(read).publish('n', data))
      await until('every message', () => received === messages, 10_000)
    })
    const up = await during(() => each(() => client.channel(written).publish('n', data)))
    return {
      transport,
      idle,
      down: { ...down, bytes: down.bytes / messages },
      up: { ...up, bytes: up.bytes / messages },
    }
  } finally {
    client.close()
    other.close()
    await relay.close()
    await proxy.close()
  }
}
