import { once } from 'node:events'
import {
  Agent,
  createServer,
  request,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
} from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { test, type Test } from 'tap'
import { createFaultProxy, type Fault, type FaultProxy } from '../src/fault-proxy.js'

interface Target {
  server: Server
  port: number
  /** Live sockets at the target. */
  sockets: Set<Socket>
  requests: IncomingMessage[]
}

const routes: Record<
  string,
  (request: IncomingMessage, response: import('node:http').ServerResponse) => void
> = {
  '/hello': (_, response) => response.end('hello'),
  '/echo': (request, response) => {
    response.writeHead(201, 'Made', [
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
    ])
    request.pipe(response)
  },
  '/headers': (request, response) => response.end(JSON.stringify(request.headers)),
  '/events': (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('first')
  },
  '/head-only': (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
  },
  '/three': (_, response) => {
    response.write('one,')
    setImmediate(() => {
      response.write('two,')
      setImmediate(() => response.end('three'))
    })
  },
  '/breaks': (_, response) => {
    response.writeHead(200, { 'content-length': '100' })
    response.write('partial', () => response.destroy())
  },
  '/nothing': (_, response) => response.writeHead(204).end(),
  '/endless': (_, response) => {
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    }
    response.on('drain', more)
    more()
  },
}

async function startTarget(t: Test): Promise<Target> {
  const sockets = new Set<Socket>()
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    routes[request.url!]!(request, response)
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    requests.push(request)
    if (request.url === '/no')
      return void socket.end('HTTP/1.1 426 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno')
    socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: Upgrade\r\n\r\nwelcome,')
    socket.write(head)
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { server, port: (server.address() as AddressInfo).port, sockets, requests }
}

async function start(t: Test, fault: Fault | ((request: IncomingMessage) => Fault) = {}) {
  const target = await startTarget(t)
  const proxy = await createFaultProxy({
    target: { host: '127.0.0.1', port: target.port },
    decide: typeof fault === 'function' ? fault : () => fault,
  })
  t.teardown(() => proxy.close())
  return { target, proxy }
}

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  /** What has come so far. */
  body: string
  outcome: 'open' | 'ended' | 'broken'
  ended: Promise<void>
  destroy(): void
}

/** Resolves with the head of the answer; its body comes as it comes. */
function ask(
  proxy: FaultProxy,
  path: string,
  {
    method = 'GET',
    headers = {},
    body,
    agent = false,
  }: {
    method?: string
    headers?: Record<string, string>
    body?: string | Buffer
    agent?: Agent | false
  } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const out = request({ host: proxy.host, port: proxy.port, path, method, headers, agent })
    out.on('error', reject)
    out.on('response', (response) => {
      let finish = () => {}
      const answer: Answer = {
        status: response.statusCode!,
        headers: response.headers,
        body: '',
        outcome: 'open',
        ended: new Promise((resolve) => (finish = resolve)),
        destroy: () => out.destroy(),
      }
      response.on('data', (chunk: Buffer) => (answer.body += chunk.toString()))
      response.on('error', () => {})
      response.on('close', () => {
        answer.outcome = response.complete ? 'ended' : 'broken'
        finish()
      })
      resolve(answer)
    })
    out.end(body)
  })
}

/** Opens an upgrade by hand; collects what comes. */
async function upgrade(proxy: FaultProxy, path = '/up', more = '') {
  const socket = connect(proxy.port, proxy.host)
  const state = { text: '', closed: false, socket }
  socket.on('error', () => {})
  socket.on('data', (chunk) => (state.text += chunk.toString('latin1')))
  socket.on('close', () => (state.closed = true))
  await once(socket, 'connect')
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n${more}`)
  return state
}

/** Waits until it holds; the test runner's timeout is the end of patience. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn()
}
/** Gives what must not happen many turns to happen in. */
async function turns(): Promise<void> {
  for (let i = 0; i < 200; i++) await turn()
}
const head = (text: string) => text.slice(0, text.indexOf('\r\n\r\n'))
const tail = (text: string) => text.slice(text.indexOf('\r\n\r\n') + 4)

test('passes requests and answers on as they are, both ways streaming', async (t) => {
  const { proxy, target } = await start(t)
  const hello = await ask(proxy, '/hello')
  await hello.ended
  t.match(hello, { status: 200, body: 'hello', outcome: 'ended' })
  const large = 'x'.repeat(3_000_000)
  const echo = await ask(proxy, '/echo', { method: 'POST', body: large })
  await echo.ended
  t.equal(echo.body.length, large.length)
  t.match(echo, { status: 201, outcome: 'ended', headers: { 'set-cookie': ['a=1', 'b=2'] } })
  const chunked = await ask(proxy, '/echo', {
    method: 'POST',
    body: 'in chunks',
    headers: { 'transfer-encoding': 'chunked' },
  })
  await chunked.ended
  t.equal(chunked.body, 'in chunks')
  const nothing = await ask(proxy, '/nothing')
  await nothing.ended
  t.match(nothing, { status: 204, outcome: 'ended', body: '' })
  const events = await ask(proxy, '/events')
  await until(() => events.body === 'first')
  const silent = await ask(proxy, '/head-only')
  t.equal(silent.status, 200, 'the head of a stream does not wait for its body')
  t.equal(proxy.connections().length, 2)
  events.destroy()
  silent.destroy()
  await until(() => proxy.connections().length === 0 && target.sockets.size === 0)
})

test('tells the target who asked, and keeps what belongs to one connection', async (t) => {
  const { proxy } = await start(t)
  const answer = await ask(proxy, '/headers', {
    headers: {
      host: 'shop.example',
      'keep-alive': 'timeout=9',
      te: 'trailers',
      'x-forwarded-for': '192.0.2.1',
      cookie: 'a=1',
    },
  })
  await answer.ended
  const seen = JSON.parse(answer.body) as Record<string, string>
  t.match(seen, {
    host: 'shop.example',
    'x-forwarded-for': '192.0.2.1, 127.0.0.1',
    'x-forwarded-proto': 'http',
    cookie: 'a=1',
  })
  t.notOk('keep-alive' in seen || 'te' in seen)
  const { target, proxy: second } = await start(t)
  const socket = await upgrade(second)
  await until(() => socket.text.includes('welcome'))
  t.match(target.requests[0]!.headers, { 'x-forwarded-for': '127.0.0.1', upgrade: 'echo' })
  socket.socket.destroy()
})

test('keeps the client connection for the next request', async (t) => {
  const { proxy } = await start(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  for (let i = 0; i < 20; i++) {
    const answer = await ask(proxy, '/three', { agent })
    await answer.ended
    t.match(answer, { body: 'one,two,three', outcome: 'ended' })
  }
})

test('passes upgrades on as raw bytes, with what came along with them', async (t) => {
  const { proxy, target } = await start(t)
  const client = await upgrade(proxy, '/up', 'early,')
  await until(() => tail(client.text) === 'welcome,early,')
  t.match(head(client.text), /^HTTP\/1.1 101 /)
  client.socket.write('more')
  await until(() => tail(client.text) === 'welcome,early,more')
  t.match(proxy.connections(), [{ kind: 'upgrade' }])
  client.socket.end()
  await until(() => client.closed && proxy.connections().length === 0 && target.sockets.size === 0)

  const refused = await upgrade(proxy, '/no')
  await until(() => refused.closed)
  t.match(refused.text, /^HTTP\/1.1 426 No\r\n[^]*no$/, 'the refusal of the target itself')
})

test('an answer that breaks off at the target breaks off at the client', async (t) => {
  const { proxy } = await start(t)
  const answer = await ask(proxy, '/breaks')
  await answer.ended
  t.match(answer, { outcome: 'broken', body: 'partial' })
})

test('a target that is not there is told, and nothing else fails', async (t) => {
  const { proxy, target } = await start(t)
  target.server.close()
  await once(target.server, 'close')
  const answer = await ask(proxy, '/hello')
  t.equal(answer.status, 502)
  const client = await upgrade(proxy)
  await until(() => client.closed)
  t.notMatch(client.text, /101/)
  await until(() => proxy.connections().length === 0)
})

test('refuse answers with the status, upgrades too, and asks the target nothing', async (t) => {
  const { proxy, target } = await start(t, ({ headers }) => ({ refuse: headers.upgrade ? 400 : 403 }))
  t.equal((await ask(proxy, '/hello')).status, 403)
  const client = await upgrade(proxy)
  await until(() => client.closed)
  t.match(client.text, /^HTTP\/1.1 400 /)
  t.equal(target.requests.length, 0)
})

test('drop destroys the connection', async (t) => {
  const { proxy, target } = await start(t, { drop: true })
  await t.rejects(ask(proxy, '/hello'))
  const client = await upgrade(proxy)
  await until(() => client.closed)
  t.equal(client.text, '')
  t.equal(target.requests.length, 0)
})

test('cutAfterBytes cuts an answer at that byte, in mid-frame', async (t) => {
  for (const cutAfterBytes of [1, 5, 6, 100_000]) {
    const { proxy, target } = await start(t, { cutAfterBytes })
    const answer = await ask(proxy, '/echo', { method: 'POST', body: 'x'.repeat(200_000) })
    await answer.ended
    t.equal(answer.body.length, cutAfterBytes)
    t.equal(answer.outcome, 'broken')
    await until(() => target.sockets.size === 0 && proxy.connections().length === 0)
    const client = await upgrade(proxy, '/up', 'x'.repeat(cutAfterBytes))
    await until(() => client.closed)
    t.equal(tail(client.text).length, cutAfterBytes, 'counted after the head of the upgrade')
    await until(() => target.sockets.size === 0 && proxy.connections().length === 0)
  }
})

test('cutAfterMs cuts what has opened, after its time', async (t) => {
  const { proxy, target } = await start(t, { cutAfterMs: 80 })
  for (const open of [
    async () => {
      const events = await ask(proxy, '/events')
      await events.ended
      return [events.body, events.outcome]
    },
    async () => {
      const client = await upgrade(proxy)
      await until(() => client.closed)
      return [tail(client.text), 'broken']
    },
  ]) {
    const started = performance.now()
    const [body, outcome] = await open()
    t.match(body, /^(first|welcome,)$/, 'what comes before passes')
    t.equal(outcome, 'broken')
    t.ok(performance.now() - started >= 75)
    await until(() => target.sockets.size === 0 && proxy.connections().length === 0)
  }
  const whole = await ask(proxy, '/hello')
  await whole.ended
  t.match(whole, { body: 'hello', outcome: 'ended' }, 'an answer that ends in time is whole')
})

test('cutIdleMs cuts what is silent for so long, and nothing that talks', async (t) => {
  const { proxy, target } = await start(t, { cutIdleMs: 100 })
  const events = await ask(proxy, '/events')
  const silent = await upgrade(proxy)
  const talking = await upgrade(proxy)
  const talk = setInterval(() => talking.socket.write('x'), 20)
  t.teardown(() => clearInterval(talk))
  const started = performance.now()
  await events.ended
  await until(() => silent.closed)
  t.match(events, { body: 'first', outcome: 'broken' })
  t.ok(performance.now() - started >= 90)
  // What is silent again would have been cut twice by now.
  const again = await upgrade(proxy)
  await until(() => again.closed)
  t.equal(talking.closed, false)
  t.equal(target.sockets.size, 1)
  clearInterval(talk)
  await until(() => talking.closed && target.sockets.size === 0 && proxy.connections().length === 0)
})

test('holdBack keeps the body until it has ended', async (t) => {
  const { proxy, target } = await start(t, { holdBack: true })
  const whole = await ask(proxy, '/three')
  await whole.ended
  t.match(whole, { body: 'one,two,three', outcome: 'ended' })
  const held = await ask(proxy, '/events')
  await until(() => target.requests.length === 2)
  await turns()
  t.equal(held.body, '')
  for (const socket of target.sockets) socket.destroy()
  await held.ended
  t.equal(held.outcome, 'broken')
})

test('silent opens, and then lets nothing through', async (t) => {
  const { proxy } = await start(t, { silent: true })
  const events = await ask(proxy, '/events')
  const client = await upgrade(proxy)
  await until(() => client.text.includes('\r\n\r\n'))
  client.socket.write('anybody?')
  await turns()
  t.match(client.text, /^HTTP\/1.1 101 /)
  t.strictSame([tail(client.text), client.closed, events.body, events.outcome], ['', false, '', 'open'])
  t.equal(proxy.cut(), 2)
  await until(() => client.closed && events.outcome === 'broken')
})

test('freeze makes a live connection half open: nothing passes, nothing closes', async (t) => {
  const { proxy, target } = await start(t)
  const client = await upgrade(proxy)
  const other = await upgrade(proxy)
  await until(() => tail(client.text) === 'welcome,' && tail(other.text) === 'welcome,')
  const [first] = proxy.connections()
  t.equal(
    proxy.freeze((connection) => connection === first),
    1,
  )
  client.socket.write('lost')
  other.socket.write('passes')
  await until(() => tail(other.text) === 'welcome,passes')
  await turns()
  t.strictSame([tail(client.text), client.closed], ['welcome,', false])
  t.equal(target.sockets.size, 2)
  t.equal(
    proxy.cut((connection) => connection === first),
    1,
  )
  await until(() => client.closed && target.sockets.size === 1)
  t.notOk(other.closed)
  other.socket.destroy()
})

test('delayMs delays every piece, in order, and pieces do not wait for one another', async (t) => {
  const { proxy } = await start(t, { delayMs: 50 })
  const client = await upgrade(proxy)
  await until(() => tail(client.text) === 'welcome,')
  const started = performance.now()
  for (let i = 0; i < 40; i++) {
    client.socket.write(`${i},`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await until(() => client.text.endsWith('39,'))
  const tookMs = performance.now() - started
  t.equal(tail(client.text), `welcome,${Array.from({ length: 40 }, (_, i) => `${i},`).join('')}`)
  t.ok(tookMs >= 95, `there and back ${tookMs} ms`)
  t.ok(tookMs < 1_600, `a delay is no bottleneck: ${tookMs} ms`)
  const answer = await ask(proxy, '/three')
  await answer.ended
  t.match(answer, { body: 'one,two,three', outcome: 'ended' })
})

test('cut destroys what matches, on both sides', async (t) => {
  const { proxy, target } = await start(t)
  const events = await ask(proxy, '/events')
  const client = await upgrade(proxy)
  await until(() => client.text.includes('welcome') && events.body === 'first')
  t.equal(
    proxy.cut(({ request }) => request.url === '/events'),
    1,
  )
  await events.ended
  t.equal(events.outcome, 'broken')
  t.notOk(client.closed)
  t.equal(proxy.cut(), 1)
  await until(() => client.closed && target.sockets.size === 0)
  t.equal(proxy.cut(), 0)
})

test('a reader that does not read holds the target back', async (t) => {
  const { proxy, target } = await start(t)
  const socket = connect(proxy.port, proxy.host)
  socket.on('error', () => {})
  socket.pause()
  socket.write('GET /endless HTTP/1.1\r\nhost: x\r\n\r\n')
  await until(() => target.requests.length === 1)
  const [upstream] = target.sockets
  let before = -1
  // Kernel buffers fill first.
  while (upstream!.bytesWritten !== before) {
    before = upstream!.bytesWritten
    await turns()
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  t.ok(before < 64 * 2 ** 20, `${before} bytes`)
  socket.destroy()
  await until(() => target.sockets.size === 0)
})

test('a thousand connections come and go, and leave nothing behind', async (t) => {
  const { proxy, target } = await start(t)
  const clients = await Promise.all(Array.from({ length: 1_000 }, () => upgrade(proxy)))
  await until(() => clients.every(({ text }) => text.endsWith('welcome,')))
  t.equal(proxy.connections().length, 1_000)
  clients.forEach(({ socket }, i) => (i % 2 ? socket.destroy() : socket.resetAndDestroy()))
  await until(() => proxy.connections().length === 0 && target.sockets.size === 0)
})

test('close destroys everything, and may be called twice', async (t) => {
  const { proxy, target } = await start(t)
  const events = await ask(proxy, '/events')
  const client = await upgrade(proxy)
  const idle = connect(proxy.port, proxy.host)
  idle.on('error', () => {})
  await until(() => client.text.includes('welcome') && events.body === 'first')
  await Promise.all([proxy.close(), once(idle, 'close')])
  await proxy.close()
  await until(() => client.closed && events.outcome === 'broken' && target.sockets.size === 0)
  await t.rejects(ask(proxy, '/hello'))
})

test('a port that is taken rejects', async (t) => {
  const { proxy, target } = await start(t)
  await t.rejects(createFaultProxy({ target: { host: '127.0.0.1', port: target.port }, port: proxy.port }), {
    code: 'EADDRINUSE',
  })
})
