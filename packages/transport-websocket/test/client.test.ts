import t, { type Test } from 'tap'
import { createClient } from '@everwire/client'
import { parseHeader, type ClientTransport } from '@everwire/core'
import { createFakeClock } from '@everwire/testkit'
import { webSocket, type WebSocketLike } from '@everwire/transport-websocket/client'

// The client half on a WebSocket that is made up, as browsers behave and misbehave.

type Say = (...header: [string, ...unknown[]]) => void

/** A WebSocket whose server answers with `behave`. */
function sockets(behave: (say: Say, kind: string, fields: Record<string, unknown>) => void) {
  const all: Socket[] = []
  class Socket implements WebSocketLike {
    binaryType = ''
    readyState = 0
    bufferedAmount = 0
    onopen: WebSocketLike['onopen'] = null
    onmessage: WebSocketLike['onmessage'] = null
    onclose: WebSocketLike['onclose'] = null
    onerror: WebSocketLike['onerror'] = null
    constructor() {
      all.push(this)
      queueMicrotask(() => {
        if (this.readyState === 3) return
        this.readyState = 1
        this.onopen?.({} as never)
      })
    }
    send(data: string | Uint8Array) {
      const [kind, fields] = parseHeader(String(data).split('\n')[0]!) as [string, Record<string, unknown>]
      const say: Say = (...header) => {
        if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(header) } as never)
      }
      queueMicrotask(() => behave(say, kind, fields))
    }
    close(_code?: number, reason = '') {
      // As browsers do.
      if (Buffer.byteLength(reason) > 123) throw new SyntaxError('the reason is too long')
      this.readyState = 3
    }
  }
  return { all, Socket }
}

const normal: Parameters<typeof sockets>[0] = (say, kind, fields) => {
  if (kind === 'hello') say('hello', { nonce: fields.nonce })
  if (kind === 'ping') say('pong', 0)
  if (kind === 'attach')
    say('welcome', {
      ...{ session: fields.session ?? 's1', gen: fields.gen, from: 1, applied: 0, node: 'n', userId: null },
      ...{ heartbeatMs: 25_000, resumeWindowMs: 60_000, dedupWindowMs: 120_000, frameBytes: 65_536 },
      ...{ ackFrames: 250, ackBytes: 262_144, transports: [] },
    })
}

function connect(t: Test, ...transports: ClientTransport[]) {
  const clock = createFakeClock({ startMs: 1_000_000 })
  const fetch = () => Promise.reject(new TypeError('no network'))
  const client = createClient({ url: 'http://localhost:1/e', transports, clock, random: () => 0.5, fetch })
  t.teardown(() => client.close())
  client.connect()
  return { client, clock }
}

t.test('the probe that wins a race carries the session', async (t) => {
  const dead: ClientTransport = {
    name: 'dead',
    supported: () => true,
    probe: () => Promise.reject(new Error('dead')),
    attach(_handshake, handler) {
      queueMicrotask(() => handler.closed('link-lost', 'dead'))
      return { transport: 'dead', bufferedBytes: 0, send: () => true, close() {} }
    },
  }
  const { all, Socket } = sockets(normal)
  const { client, clock } = connect(t, dead, webSocket({ WebSocket: Socket }))
  await clock.advance(100)
  t.equal(client.transport, 'websocket')
  t.equal(all.length, 1, 'over the connection that was tried')
})

t.test('a page that may not open sockets yet comes back until it may', async (t) => {
  let isForbidden = true
  const { Socket } = sockets(normal)
  const Forbidden = class extends Socket {
    constructor() {
      if (isForbidden) throw new Error('SecurityError')
      super()
    }
  }
  const { client, clock } = connect(t, webSocket({ WebSocket: Forbidden }))
  await clock.advance(10_000)
  t.equal(client.state, 'reconnecting')
  isForbidden = false
  await clock.advance(60_000)
  t.equal(client.state, 'connected')
})

t.test('a refusal whose code is longer than a close reason may be is one like others', async (t) => {
  let refuses = true
  const { Socket } = sockets((say, kind, fields) => {
    if (refuses && kind === 'attach') say('refuse', `app:${'x'.repeat(130)}`)
    else normal(say, kind, fields)
  })
  const { client, clock } = connect(t, webSocket({ WebSocket: Socket }))
  await clock.advance(10_000)
  refuses = false
  await clock.advance(60_000)
  t.equal(client.state, 'connected')
})
