import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { Transform, type TransformCallback } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { systemClock } from '@everwire/core'

/** What goes wrong with one request or upgrade, and with what it opens. Nothing by default. */
export interface Fault {
  /** Answers with this status, an upgrade too, and asks the target nothing. */
  refuse?: number
  /** Destroys the connection instead of answering. */
  drop?: boolean
  /** Delays every piece, both ways, in milliseconds. */
  delayMs?: number
  /** Destroys the connection once so many bytes of the answer have gone down; for an upgrade, after its 101. */
  cutAfterBytes?: number
  /** Destroys the connection so long after the answer began, in milliseconds; for an upgrade, after its 101. */
  cutAfterMs?: number
  /** Destroys the connection once nothing has passed, either way, for so many milliseconds. */
  cutIdleMs?: number
  /** Keeps the body of the answer until it ends, as some proxies do with streams. */
  holdBack?: boolean
  /** Opens, and lets nothing through after that. */
  silent?: boolean
}

/** A request or an upgrade on its way through the proxy. */
export interface ProxiedConnection {
  readonly kind: 'request' | 'upgrade'
  readonly request: IncomingMessage
  /** Destroys it, both sides. */
  cut(): void
  /** Keeps it open and lets nothing through any more: half open. */
  freeze(): void
}

export interface FaultProxyOptions {
  target: { host: string; port: number }
  /** @default 0, a free one */
  port?: number
  /** @default '127.0.0.1' */
  host?: string
  /** Asked for each request and upgrade as it comes. */
  decide?: (request: IncomingMessage) => Fault
  /** Answers a request itself, and says so by true; for controls that live beside the path. */
  handle?: (request: IncomingMessage, response: ServerResponse) => boolean
}

type Filter = (connection: ProxiedConnection) => boolean

export interface FaultProxy {
  readonly host: string
  readonly port: number
  /** What is open now. */
  connections(): ProxiedConnection[]
  /** Destroys what matches; everything without a filter. @returns how many */
  cut(filter?: Filter): number
  /** Makes what matches half open; everything without a filter. @returns how many */
  freeze(filter?: Filter): number
  close(): Promise<void>
}

/** An HTTP-aware proxy in this process that does on purpose what bad networks do. Rejects when the port is taken. */
export async function createFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const { target, host = '127.0.0.1', port = 0, decide = (): Fault => ({}), handle = () => false } = options
  const connections = new Set<ProxiedConnection>()
  const sockets = new Set<Socket>()
  const server = createServer({ requestTimeout: 0 })

  const track = (
    kind: ProxiedConnection['kind'],
    request: IncomingMessage,
    gates: Gate[],
    cut: () => void,
  ) => {
    const connection: ProxiedConnection = {
      kind,
      request,
      cut,
      freeze: () => gates.forEach((gate) => gate.freeze()),
    }
    connections.add(connection)
    return () => connections.delete(connection)
  }

  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })

  server.on('request', (request, response) => {
    if (handle(request, response)) return
    const fault = decide(request)
    if (fault.drop) return void request.socket.destroy()
    if (fault.refuse !== undefined) {
      response.writeHead(fault.refuse, { 'content-type': 'text/plain' })
      return void response.end('refused on the path\n')
    }
    const upstream = httpRequest({
      ...target,
      method: request.method,
      path: request.url,
      headers: forwarded(request),
      // A connection of its own: one that is kept could be closed under the next request, a fault nobody asked for.
      agent: false,
    })
    const cut = () => {
      upstream.destroy()
      request.socket.destroy()
    }
    const idle = watchIdle(fault.cutIdleMs, cut)
    const up = new Gate({ ...fault, passes: idle.passes })
    const down = new Gate({ ...fault, passes: idle.passes, cut })
    const untrack = track('request', request, [up, down], cut)
    response.on('close', () => {
      untrack()
      idle.stop()
      upstream.destroy()
    })
    upstream.on('error', () => {
      if (!response.headersSent) response.writeHead(502).end()
      else cut()
    })
    upstream.on('response', (answer) => {
      response.writeHead(answer.statusCode!, answer.statusMessage, endToEnd(answer))
      // At once: a stream's head must not wait for its first piece.
      response.flushHeaders()
      if (fault.silent) down.freeze()
      down.began()
      pipeline(answer, down, response).catch(cut)
    })
    pipeline(request, up, upstream).catch(() => upstream.destroy())
  })

  server.on('upgrade', (request, socket: Socket, head) => {
    const fault = decide(request)
    if (fault.drop) return void socket.destroy()
    if (fault.refuse !== undefined)
      return void socket.end(
        `HTTP/1.1 ${fault.refuse} Refused\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`,
      )
    const upstream = connect(target.port, target.host)
    const cut = () => {
      upstream.destroy()
      socket.destroy()
    }
    const idle = watchIdle(fault.cutIdleMs, cut)
    const up = new Gate({ ...fault, passes: idle.passes })
    const down = new Gate({ ...fault, passes: idle.passes, cut, afterHead: true })
    const untrack = track('upgrade', request, [up, down], cut)
    socket.on('close', () => {
      untrack()
      idle.stop()
      upstream.destroy()
    })
    upstream.on('error', cut)
    upstream.write(requestHead(request))
    upstream.write(head)
    pipeline(socket, up, upstream).catch(cut)
    pipeline(upstream, down, socket).catch(cut)
  })

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })

  const each = (filter: Filter, act: (connection: ProxiedConnection) => void) => {
    const matching = [...connections].filter(filter)
    matching.forEach(act)
    return matching.length
  }
  return {
    host,
    port: (server.address() as AddressInfo).port,
    connections: () => [...connections],
    cut: (filter = () => true) => each(filter, (connection) => connection.cut()),
    freeze: (filter = () => true) => each(filter, (connection) => connection.freeze()),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const connection of [...connections]) connection.cut()
        for (const socket of sockets) socket.destroy()
      }),
  }
}

/** Cuts a connection through which nothing passes for so long. */
function watchIdle(idleMs: number | undefined, cut: () => void): { passes(): void; stop(): void } {
  if (idleMs === undefined) return { passes() {}, stop() {} }
  let cancel = systemClock.after(idleMs, cut)
  return {
    passes() {
      cancel()
      cancel = systemClock.after(idleMs, cut)
    },
    stop: () => cancel(),
  }
}

interface GateOptions extends Fault {
  cut?: () => void
  /** Called with each piece that comes. */
  passes?: () => void
  /** Faults begin after the head of an HTTP answer. */
  afterHead?: boolean
}

const mostDelayedBytes = 1_048_576
const headEnd = Buffer.from('\r\n\r\n')

/** One direction of a connection, with its faults. */
class Gate extends Transform {
  readonly #options: GateOptions
  #head: Buffer | undefined
  #held: Buffer[] = []
  #left: number
  #frozen = false
  /** Bytes that wait for their time. */
  #delayed = 0
  #ended: (() => void) | undefined

  constructor(options: GateOptions) {
    super()
    this.#options = options
    this.#left = options.cut ? (options.cutAfterBytes ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY
    if (options.afterHead) this.#head = Buffer.alloc(0)
  }

  freeze(): void {
    this.#frozen = true
  }

  /** The answer has begun. */
  began(): void {
    const { cutAfterMs, cut } = this.#options
    if (cutAfterMs === undefined || !cut) return
    const cancel = systemClock.after(cutAfterMs, cut)
    this.once('close', cancel)
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    this.#options.passes?.()
    const body = this.#afterHead(chunk)
    if (body.length === 0) return done()
    // Never calling back keeps the other side waiting, without an end and without an error.
    if (this.#frozen) return
    const { delayMs, holdBack } = this.#options
    if (holdBack) {
      this.#held.push(body)
      return done()
    }
    if (delayMs === undefined) {
      this.#pass(body)
      return done()
    }
    // The next piece does not wait for this one, or a delay would be a bottleneck too; only a flood does.
    this.#delayed += body.length
    const full = this.#delayed > mostDelayedBytes
    systemClock.after(delayMs, () => {
      this.#delayed -= body.length
      if (this.#frozen || this.destroyed) return
      this.#pass(body)
      if (full) done()
      if (this.#delayed === 0) this.#ended?.()
    })
    if (!full) done()
  }

  override _flush(done: TransformCallback): void {
    if (this.#frozen) return
    for (const chunk of this.#held) this.push(chunk)
    if (this.#delayed === 0) done()
    else this.#ended = done
  }

  #pass(chunk: Buffer): void {
    if (this.#left === 0) return
    if (chunk.length < this.#left) {
      this.#left -= chunk.length
      this.push(chunk)
      return
    }
    this.push(chunk.subarray(0, this.#left))
    this.#left = 0
    // After what was pushed has gone out.
    setImmediate(() => this.#options.cut?.())
  }

  /** Lets the head through, whole, and gives what follows it. */
  #afterHead(chunk: Buffer): Buffer {
    if (!this.#head) return chunk
    this.#head = Buffer.concat([this.#head, chunk])
    const at = this.#head.indexOf(headEnd)
    if (at < 0) return Buffer.alloc(0)
    const end = at + headEnd.length
    this.push(this.#head.subarray(0, end))
    const rest = this.#head.subarray(end)
    this.#head = undefined
    this.began()
    if (this.#options.silent) this.#frozen = true
    return rest
  }
}

/** Headers of one connection only (RFC 9110 §7.6.1). */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

function endToEnd({ rawHeaders }: IncomingMessage): string[] {
  const headers: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2)
    if (!hopByHop.has(rawHeaders[i]!.toLowerCase())) headers.push(rawHeaders[i]!, rawHeaders[i + 1]!)
  return headers
}

/** Who asks, for the target. */
const forwardedFor = ({ socket: { remoteAddress = '' } }: IncomingMessage) => [
  'X-Forwarded-For',
  remoteAddress,
  'X-Forwarded-Proto',
  'http',
]

const forwarded = (request: IncomingMessage) => [
  ...endToEnd(request),
  ...forwardedFor(request),
  'Connection',
  'close',
]

function requestHead(request: IncomingMessage): string {
  const headers = [...request.rawHeaders, ...forwardedFor(request)]
  const lines = [`${request.method} ${request.url} HTTP/1.1`]
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`)
  return `${lines.join('\r\n')}\r\n\r\n`
}
