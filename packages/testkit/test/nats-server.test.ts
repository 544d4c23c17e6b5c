import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { startNats } from '../src/nats-server.js'

/** What a server says first to a client: INFO {...}. */
const greeting = (url: string) =>
  new Promise<{ server_name: string; jetstream: boolean; auth_required?: boolean }>((resolve, reject) => {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    socket.once('error', reject)
    socket.once('data', (chunk) => {
      socket.destroy()
      resolve(JSON.parse(chunk.toString().slice('INFO '.length).split('\r\n')[0]!))
    })
  })

t.test('a server that is killed comes back on its ports with what it stored', async (t) => {
  const nats = await startNats()
  const server = nats.servers[0]!
  t.match(await greeting(nats.url), { server_name: 'n1', jetstream: true })
  await t.rejects(server.start(), /runs already/)
  for (const end of [() => server.kill(), () => server.stop()]) {
    await end()
    t.notOk(server.running)
    t.equal(await server.monitor('/varz'), undefined)
    await t.rejects(greeting(nats.url), { code: 'ECONNREFUSED' })
    await server.start()
    t.equal((await greeting(server.url)).server_name, 'n1')
  }
  const { pid } = server
  await server.restart()
  t.not(server.pid, pid)
  t.ok(existsSync(server.storeDir))
  await nats.stop()
  await nats.stop()
  t.notOk(existsSync(server.storeDir), 'nothing is left')
})

t.test('a folder that is given is left', async (t) => {
  const storeDir = await mkdtemp(path.join(tmpdir(), 'everwire-nats-'))
  t.teardown(() => rm(storeDir, { recursive: true, force: true }))
  const nats = await startNats({ storeDir })
  await nats.stop()
  t.ok(existsSync(nats.servers[0]!.storeDir))
})

t.test('a configuration is added, and one that is wrong is told', async (t) => {
  const nats = await startNats({ config: 'authorization { users: [{ user: a, password: b }] }' })
  t.teardown(() => nats.stop())
  t.equal((await greeting(nats.url)).auth_required, true)
  await t.rejects(startNats({ config: (name) => `nonsense_of_${name}: {` }), /n1 ended:\n[^]*Parse error/)
})

t.test('a program that is missing is told, with what to do', async (t) => {
  const before = process.env.NATS_SERVER_PATH
  t.teardown(() => {
    if (before === undefined) delete process.env.NATS_SERVER_PATH
    else process.env.NATS_SERVER_PATH = before
  })
  process.env.NATS_SERVER_PATH = path.join(tmpdir(), 'no-such-nats-server')
  await t.rejects(
    startNats(),
    /install nats-server 2\.9\.10 or newer, or say where it is by NATS_SERVER_PATH/,
  )
})

t.test('three servers have a leader, and routes that can be cut', async (t) => {
  const nats = await startNats({ servers: 3, proxyRoutes: true })
  t.teardown(() => nats.stop())
  const routes = nats.routes!
  const leader = await nats.leader()
  t.ok(nats.servers.includes(leader))
  t.ok(routes.open('n1', 'n2') >= 1 && routes.open('n3') >= 2)

  routes.cut('n1', 'n2')
  t.equal(routes.open('n1', 'n2'), 0)
  t.ok(routes.open('n3') >= 2, 'the others stay')
  routes.heal()
  await nats.ready()
  t.ok(routes.open('n1', 'n2') >= 1)

  await leader.kill()
  const next = await nats.leader()
  t.not(next, leader)
  await leader.start()
  await nats.ready()
})
