import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import { createEventParser, type ServerEvent } from './event-source.js'
import { createFakeClock, type FakeClock } from '@everwire/testkit'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { everwire, type EverwireOptions } from '../src/index.js'

export const serverKey = 'a-key-of-the-server-with-32-characters-or-more'

export interface HttpNode {
  readonly app: FastifyInstance
  readonly clock: FakeClock
  readonly port: number
  /** Of the prefix. */
  readonly url: string
  readonly logs: Record<string, unknown>[]
  get(path: string, headers?: Record<string, string>): Promise<Answer>
  post(path: string, body: string | Uint8Array | undefined, headers?: Record<string, string>): Promise<Answer>
  /** Opens an event stream. */
  listen(path: string, headers?: Record<string, string>): Promise<Listening>
  /** Sends bytes as they are, and reads until the other end closes. */
  raw(bytes: string): Promise<string>
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: unknown
}

export interface Listening {
  readonly status: number
  readonly headers: Headers
  /** The next event, or undefined when the stream has ended. */
  next(): Promise<ServerEvent | undefined>
  /** The next so many events. */
  take(count: number): Promise<ServerEvent[]>
  /** Everything up to its end. */
  rest(): Promise<ServerEvent[]>
  readonly lastEventId: string
  readonly retryMs: number | undefined
  readonly comments: number
  close(): void
}

/** A node with real sockets, and a clock that stands still. The bearer token is the user. */
export async function startHttpNode(t: Test, options: Partial<EverwireOptions> = {}): Promise<HttpNode> {
  const clock = createFakeClock()
  const logs: HttpNode['logs'] = []
  const app = Fastify({
    logger: { level: 'debug', stream: { write: (line: string) => logs.push(JSON.parse(line)) } },
  })
  await app.register(everwire, {
    transports: [{ name: 'none' as never, register() {} }],
    authenticate: ({ token }) => (token === undefined ? null : { userId: token }),
    serverKeys: [serverKey],
    clock,
    ...options,
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const sockets = new Set<Socket>()
  app.server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  t.teardown(async () => {
    // fetch opens connections ahead that never bring a request, and a server waits for those.
    for (const socket of sockets) socket.destroy()
    await app.close()
  })
  const { port } = app.server.address() as { port: number }
  const url = `http://127.0.0.1:${port}/everwire`

  const answer = async (path: string, init: RequestInit): Promise<Answer> => {
    const response = await fetch(url + path, init)
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.startsWith('application/json') && text !== ''
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson ? JSON.parse(text) : undefined,
    }
  }

  return {
    app,
    clock,
    port,
    url,
    logs,
    get: (path, headers = {}) => answer(path, { headers }),
    post: (path, body, headers = {}) =>
      answer(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: body as string,
      }),
    listen: (path, headers = {}) => listen(t, url + path, headers),
    async raw(bytes) {
      const socket = connect(port, '127.0.0.1')
      socket.end(bytes)
      return await readAll(socket)
    },
  }
}

async function listen(t: Test, url: string, headers: Record<string, string>): Promise<Listening> {
  const controller = new AbortController()
  t.teardown(() => controller.abort())
  const response = await fetch(url, { headers, signal: controller.signal })
  const reader = response.body!.getReader()
  const decoder = new TextDecoder()
  const parser = createEventParser()
  const next = async () => {
    for (;;) {
      const event = parser.events.shift()
      if (event) return event
      const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }))
      if (done) return undefined
      parser.push(decoder.decode(value, { stream: true }))
    }
  }
  return {
    status: response.status,
    headers: response.headers,
    next,
    async take(count) {
      const events: ServerEvent[] = []
      while (events.length < count) {
        const event = await next()
        if (!event) break
        events.push(event)
      }
      return events
    },
    async rest() {
      const events: ServerEvent[] = []
      for (let event = await next(); event; event = await next()) events.push(event)
      return events
    },
    get lastEventId() {
      return parser.lastEventId
    },
    get retryMs() {
      return parser.retryMs
    },
    get comments() {
      return parser.comments
    },
    close: () => controller.abort(),
  }
}

export async function readAll(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('latin1')
  socket.on('data', (chunk: string) => (text += chunk))
  socket.on('error', () => {})
  socket.resume()
  if (!socket.closed) await once(socket, 'close')
  return text
}
