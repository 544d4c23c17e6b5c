import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, get, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { startHaproxy, startNginx, type LoadBalancer } from '../src/load-balancer.js'

// The configurations that the documentation shows, in the real programs.

const docs = fileURLToPath(new URL('../../../docs/scaling/', import.meta.url))
const haproxyFile = `${docs}haproxy.cfg`
const nginxFile = `${docs}nginx.conf`

/** A node of which only the outside is real: it says its name, upgrades, streams, and can drain. */
async function startNode(t: Test, name: string) {
  const sockets = new Set<Socket>()
  const node = { name, address: '', ready: true, asked: 0, streams: [] as ((text: string) => void)[] }
  const server = createServer((request, response) => {
    if (request.url === '/everwire/readyz') return void response.writeHead(node.ready ? 200 : 503).end()
    node.asked++
    if (request.url === '/everwire/sse' && node.ready) {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write('data: first\n\n')
      node.streams.push((text) => response.write(`data: ${text}\n\n`))
      return
    }
    // A draining node refuses what is new.
    response.writeHead(node.ready ? 200 : 503).end(name)
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (_: IncomingMessage, socket: Socket) => {
    node.asked++
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: Upgrade\r\n\r\n${name},`)
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  node.address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return node
}

const startNodes = (t: Test) => Promise.all(['a', 'b', 'c'].map((name) => startNode(t, name)))

const ask = async (url: string, method = 'GET') => {
  const response = await fetch(url, { method, ...(method === 'POST' ? { body: 'x' } : {}) })
  return { status: response.status, name: await response.text() }
}

/** The names of those who answered, one request after the other. */
async function names(balancer: LoadBalancer, count: number, method?: string): Promise<string[]> {
  const answers: string[] = []
  for (let i = 0; i < count; i++) {
    const { status, name } = await ask(`${balancer.url}/everwire/x`, method)
    answers.push(status === 200 ? name : String(status))
  }
  return answers
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 15_000; !(await holds());) {
    if (performance.now() > end) throw new Error(`in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** A WebSocket-like connection through a balancer. */
async function upgrade(balancer: LoadBalancer) {
  const socket = connect(balancer.port, '127.0.0.1')
  const state = { text: '', closed: false, socket }
  socket.on('error', () => {})
  socket.on('data', (chunk) => (state.text += chunk.toString('latin1')))
  socket.on('close', () => (state.closed = true))
  await once(socket, 'connect')
  socket.write('GET /everwire/ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n')
  return state
}

/** An event stream through a balancer. */
async function stream(balancer: LoadBalancer) {
  const request = get(`${balancer.url}/everwire/sse`)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const state = { text: '', destroy: () => request.destroy() }
  response.on('error', () => {})
  response.on('data', (chunk: Buffer) => (state.text += chunk.toString()))
  return state
}

const balancers = [
  { name: 'haproxy', start: startHaproxy, configFile: haproxyFile },
  { name: 'nginx', start: startNginx, configFile: nginxFile },
]

for (const { name, start, configFile } of balancers) {
  t.test(
    `${name}: each request goes to the next node, upgrades too, and streams come as they are`,
    async (t) => {
      const nodes = await startNodes(t)
      const balancer = await start({ configFile, targets: nodes.map(({ address }) => address) })
      t.teardown(() => balancer.stop())
      for (const method of ['GET', 'POST']) {
        const seen = await names(balancer, 9, method)
        t.equal(new Set(seen.slice(0, 3)).size, 3, `${seen.join()}: three in a row are three nodes`)
        t.strictSame(seen.slice(3), seen.slice(0, 6), 'and always in the same turn')
      }

      const sockets = await Promise.all([upgrade(balancer), upgrade(balancer), upgrade(balancer)])
      const tail = ({ text }: { text: string }) => text.slice(text.indexOf('\r\n\r\n') + 4)
      await until('three upgrades', () => sockets.every((socket) => /^[abc],$/.test(tail(socket))))
      t.strictSame(sockets.map(tail).sort(), ['a,', 'b,', 'c,'])
      for (const { socket } of sockets) socket.write('hello')
      await until('an echo', () => sockets.every((socket) => tail(socket).endsWith(',hello')))

      const events = await stream(balancer)
      await until('the first event, though the stream goes on', () => events.text === 'data: first\n\n')
      const [send] = nodes.flatMap(({ streams }) => streams)
      for (const text of ['second', 'third']) {
        send!(text)
        await until(text, () => events.text.endsWith(`data: ${text}\n\n`))
      }
      events.destroy()
      for (const { socket } of sockets) socket.destroy()
    },
  )

  t.test(
    `${name}: a node that drains or is dead gets nothing new, and nobody is refused for it`,
    async (t) => {
      const nodes = await startNodes(t)
      // nginx has no health check of its own: it learns from the first refusal. HAProxy asks.
      const dead = '127.0.0.1:1'
      const balancer = await start({ configFile, targets: [nodes[0]!.address, dead, nodes[2]!.address] })
      t.teardown(() => balancer.stop())
      t.notOk((await names(balancer, 12)).find((answer) => !'ac'.includes(answer)))
      const open = await upgrade(balancer)
      const other = await upgrade(balancer)
      await until('two upgrades', () => open.text.includes('101 ') && other.text.includes('101 '))

      nodes[0]!.ready = false
      if (name === 'haproxy')
        await until('the draining node is out', async () =>
          (await (balancer as Awaited<ReturnType<typeof startHaproxy>>).servers()).every(
            (server) => server.up === (server.name === 'node3'),
          ),
        )
      const before = nodes[0]!.asked
      t.strictSame(await names(balancer, 12, 'POST'), Array(12).fill('c'))
      t.ok(nodes[0]!.asked - before <= (name === 'nginx' ? 1 : 0), 'it was left alone')
      t.notOk(open.closed || other.closed, 'what is open goes on: it is handed over by the node')
      nodes[0]!.ready = true
      await until('it is back', async () => (await names(balancer, 1))[0] === 'a')
      open.socket.destroy()
      other.socket.destroy()
    },
  )

  t.test(`${name}: it can die, come back on its port, and be silent for a while`, async (t) => {
    const nodes = await startNodes(t)
    const balancer = await start({ configFile, targets: nodes.map(({ address }) => address) })
    t.teardown(() => balancer.stop())
    await t.rejects(balancer.start(), /runs already/)
    const socket = await upgrade(balancer)
    await until('an upgrade', () => socket.text.includes('101 '))
    await balancer.pause()
    socket.socket.write('late')
    let answered = false
    const asked = ask(`${balancer.url}/everwire/x`).then(({ status }) => {
      answered = true
      return status
    })
    await new Promise((resolve) => setTimeout(resolve, 200))
    t.notOk(answered || socket.closed || socket.text.endsWith('late'))
    balancer.resume()
    t.equal(await asked, 200)
    await until('what was held', () => socket.text.endsWith('late'))

    await balancer.kill()
    await until('the connection broke', () => socket.closed)
    await t.rejects(ask(balancer.url))
    t.notOk(balancer.running)
    await balancer.start()
    t.equal((await ask(`${balancer.url}/everwire/x`)).status, 200)
    await balancer.stop()
    await balancer.stop()
    t.notOk(balancer.running)
  })

  t.test(`${name}: what is wrong is told`, async (t) => {
    await t.rejects(start({ configFile, targets: ['127.0.0.1:1'] }), /names 3 servers, not 1/)
    const three = ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3']
    await t.rejects(start({ configFile, targets: three, change: (text) => `${text}\nnonsense here;\n` }), {
      message: new RegExp(`${name} ended:[^]*nonsense`),
    })
    const folder = await mkdtemp(path.join(tmpdir(), 'everwire-balancer-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    const empty = path.join(folder, 'empty')
    await writeFile(empty, '')
    await t.rejects(start({ configFile: empty, targets: three }), /the configuration has no/)
    const env = `${name.toUpperCase()}_PATH`
    const before = process.env[env]
    t.teardown(() => {
      if (before === undefined) delete process.env[env]
      else process.env[env] = before
    })
    process.env[env] = path.join(folder, 'no-such-program')
    await t.rejects(
      start({ configFile, targets: three }),
      new RegExp(`install ${name}, or say where it is by ${env}`),
    )
  })

  t.test(`${name}: the optional lines of affinity keep a client at one node`, async (t) => {
    const nodes = await startNodes(t)
    const balancer = await start({
      configFile,
      targets: nodes.map(({ address }) => address),
      affinity: true,
    })
    t.teardown(() => balancer.stop())
    const first = await fetch(`${balancer.url}/everwire/x`)
    const node = await first.text()
    const cookie = first.headers.get('set-cookie')?.split(';')[0] ?? ''
    for (let i = 0; i < 6; i++)
      t.equal(await (await fetch(`${balancer.url}/everwire/x`, { headers: { cookie } })).text(), node)
  })
}

t.test('the files are complete: nothing is asked of the reader but addresses', async (t) => {
  const texts = await Promise.all([haproxyFile, nginxFile].map((file) => readFile(file, 'utf8')))
  for (const text of texts) {
    t.match(text, '/everwire/readyz')
    t.equal(text.match(/10\.0\.0\.1[123]:3000/g)?.length, 3)
    const timeouts = [
      ...text.matchAll(/(?:timeout (?:client|server|tunnel)|proxy_(?:read|send)_timeout) (\d+)s/g),
    ]
    t.ok(timeouts.length >= 2 && timeouts.every(([, seconds]) => Number(seconds) > 2 * 25))
  }
})
