import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { nats } from '@everwire/bus-nats'
import { everwire, type EverwireOptions } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import { webSocket } from '@everwire/transport-websocket/server'
import fastify, { type FastifyInstance } from 'fastify'

export interface ClusterOptions extends Partial<EverwireOptions> {
  /** @default 3 */
  nodes?: number
  natsUrl: string
  /** First tokens of the subjects on NATS: one per test. */
  natsPrefix: string
  log?: { write(line: string): void }
  /** Of the balancer; 0 takes any free one. @default 0 */
  port?: number
  /** Called with each node before it listens. */
  prepare(app: FastifyInstance): void
}

export interface Cluster {
  readonly nodes: readonly FastifyInstance[]
  readonly balancer: Server
  /** The balancer: every request goes to the next node that is up. */
  readonly port: number
  readonly url: string
  /** Sends everything to one node, or to all in turn. */
  pin(node: FastifyInstance | undefined): void
  close(): Promise<void>
}

const loopback = '127.0.0.1'

/** Nodes on one NATS, in this process, behind a balancer that sends each request to another one. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { nodes: count = 3, natsUrl, natsPrefix, log, port = 0, prepare, ...server } = options
  const nodes = await Promise.all(
    Array.from({ length: count }, async () => {
      const app = fastify({
        forceCloseConnections: true,
        ...(log ? { logger: { level: 'debug', stream: log } } : {}),
      })
      await app.register(everwire, {
        transports: [webSocket(), sse(), longPolling()],
        bus: nats({ servers: natsUrl, prefix: natsPrefix }),
        authenticate: ({ token }) => ({ userId: token ?? null }),
        ...server,
      })
      prepare(app)
      await app.listen({ port: 0, host: loopback })
      return app
    }),
  )
  let turn = 0
  let pinned: FastifyInstance | undefined
  /** A port on which nobody listens, when no node is up. */
  const next = (): number => {
    const up = nodes.filter((node) => node.server.listening)
    const node = pinned ?? up[turn++ % up.length]
    return (node?.server.address() as AddressInfo | undefined)?.port ?? 1
  }
  const balancer = createServer((request, response) => pass(request, response, next()))
  const sockets = new Set<Socket>()
  balancer.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  balancer.on('upgrade', (request, socket, head) => passUpgrade(request, socket, head, next()))
  await new Promise<void>((resolve) => balancer.listen(port, loopback, resolve))
  const address = balancer.address() as AddressInfo
  return {
    nodes,
    balancer,
    port: address.port,
    url: `http://${loopback}:${address.port}/everwire`,
    pin: (node) => (pinned = node),
    async close() {
      await Promise.all(nodes.map((node) => node.close()))
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => balancer.close(resolve))
    },
  }
}

function pass(request: IncomingMessage, response: ServerResponse, port: number): void {
  const { method, url, headers } = request
  const onward = httpRequest({ host: loopback, port, method, path: url, headers, agent: false }, (answer) => {
    response.writeHead(answer.statusCode!, answer.headers)
    response.flushHeaders()
    answer.pipe(response)
    answer.on('error', () => response.destroy())
  })
  onward.on('error', () => response.destroy())
  response.on('close', () => onward.destroy())
  request.pipe(onward)
}

function passUpgrade(
  { method, url, rawHeaders }: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  port: number,
): void {
  const onward = connect(port, loopback, () => {
    const lines = rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${rawHeaders[i + 1]}`] : []))
    onward.write(`${method} ${url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
    onward.write(head)
    onward.pipe(socket).pipe(onward)
  })
  for (const [one, other] of [
    [onward, socket],
    [socket, onward],
  ] as const) {
    one.on('error', () => other.destroy())
    one.on('close', () => other.destroy())
  }
}
