import type { AddressInfo, Socket } from 'node:net'
import type { ClientTransport } from '@everwire/core'
import type {
  SuiteClient,
  SuiteClientOptions,
  SuiteServer,
  SuiteServerOptions,
  SuiteTest,
  TransportSuiteOptions,
} from './types.js'
import { until } from './until.js'

/** One line of the server's log. */
interface LogLine {
  level: number
  msg: string
  code?: string
  reason?: string
}

/** A server and its clients, for the time of one test. */
export interface World {
  readonly server: SuiteServer
  readonly everwire: SuiteServer['everwire']
  readonly port: number
  /** What the clients are given. */
  readonly url: string
  /** Lines from level `info` on, without those of requests that went as they should. */
  readonly log: LogLine[]
  /** Makes a client of the transport under test; it is closed with the test. */
  client(options?: Partial<SuiteClientOptions>): SuiteClient
  /** Requests without an end to their answer, and upgraded connections. */
  open(): number
  /** Most bytes that wait in one socket of the server. */
  bufferedBytes(): number
  /** Cuts every connection, without a word. */
  dropConnections(): void
  stop(): Promise<void>
  /** Starts it again, on the same port, as a process that was restarted. */
  restart(): Promise<void>
}

interface Closing {
  once(event: 'close', listener: () => void): unknown
}

const infoLevel = 30

/** Starts a server with the channels `history:*` and `live:*`, open to all, and the method `echo`. */
export async function createWorld(
  t: SuiteTest,
  suite: TransportSuiteOptions,
  options: Partial<SuiteServerOptions> = {},
  prepare: (server: SuiteServer) => void = openChannels,
): Promise<World> {
  const log: LogLine[] = []
  const clients: SuiteClient[] = []
  const sockets = new Set<Socket>()
  const open = new Set<object>()
  const track = (one: Closing) => {
    open.add(one)
    one.once('close', () => open.delete(one))
  }
  const sink = {
    write(text: string) {
      const line = JSON.parse(text) as LogLine
      if (line.level >= infoLevel && line.msg.startsWith('everwire')) log.push(line)
    },
  }
  const makeBus = suite.bus?.place()
  const start = async (on: number) => {
    const server = await suite.start(
      {
        authenticate: ({ token }) => ({ userId: token ?? null }),
        ...(makeBus ? { bus: makeBus() } : {}),
        // Within the usual limit of descriptors: the server warns where it is not.
        maxSessions: 500,
        ...options,
      },
      { port: on, log: sink },
    )
    prepare(server)
    server.server.on('connection', (socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    server.server.on('request', (_request, response) => track(response))
    server.server.on('upgrade', (_request, socket) => track(socket))
    return server
  }
  let server = await start(0)
  const { port } = server.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}/everwire`
  t.teardown(async () => {
    for (const client of clients) client.close()
    const closed = server.close()
    // Node's fetch opens another connection after an abort, asks nothing on it, and the server would wait for it.
    for (const socket of sockets) socket.destroy()
    await closed
  })
  return {
    get server() {
      return server
    },
    get everwire() {
      return server.everwire
    },
    port,
    url,
    log,
    client(clientOptions = {}) {
      const client = suite.createClient({
        url,
        transports: [suite.transport],
        backoffMs: 10,
        maxBackoffMs: 50,
        // Tests say when to go up; and a busy machine is no reason to fall back.
        upgradeIntervalMs: 1_000_000,
        linkTimeoutMs: 10_000,
        ...clientOptions,
      })
      clients.push(client)
      return client
    },
    open: () => open.size,
    bufferedBytes: () => Math.max(0, ...[...sockets].map(({ writableLength }) => writableLength)),
    dropConnections() {
      for (const socket of sockets) socket.destroy()
    },
    async stop() {
      await server.close()
    },
    async restart() {
      await server.close()
      server = await start(port)
    },
  }
}

export function openChannels({ everwire }: SuiteServer): void {
  everwire.channel('history:*', { history: { size: 10_000 }, subscribe: true, publish: true })
  everwire.channel('live:*', { subscribe: true, publish: true })
  everwire.method('echo', (_session, input) => input)
}

export async function connected(client: SuiteClient, transport?: string): Promise<void> {
  client.connect()
  await until(
    () => client.state === 'connected' && (!transport || client.transport === transport),
    () => `connected over ${transport ?? 'anything'}; it is ${client.state} over ${client.transport}`,
  )
}

/** Reads a channel into arrays. */
export async function record(client: SuiteClient, name: string) {
  const channel = client.channel(name)
  const data: unknown[] = []
  const gaps: string[] = []
  const unsubscribed: string[] = []
  channel.on('*', (value) => data.push(value))
  channel.on('gap', ({ reason }) => gaps.push(reason))
  channel.on('unsubscribed', ({ code }) => unsubscribed.push(code))
  await channel.subscribe()
  return { channel, data, gaps, unsubscribed }
}

export const range = (from: number, to: number): number[] =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)

export const allOf = ({ transport, others = [] }: TransportSuiteOptions): ClientTransport[] => [
  transport,
  ...others,
]
