import { once } from 'node:events'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { everwire } from '@everwire/server'
import { webSocket } from '@everwire/transport-websocket/server'

// Whose upgrades are whose, and that no socket is left behind.

const options = { transports: [webSocket()], authenticate: () => ({ userId: 'ann' }) }

async function start(t: Test, app: FastifyInstance) {
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const { port } = app.server.address() as AddressInfo
  /** Asks for an upgrade, and says what came back; unless told to, it never hangs up. */
  return async (path: string): Promise<{ status: number; socket: Socket; ended: Promise<unknown> }> => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    t.teardown(() => socket.destroy())
    const ended = once(socket, 'end')
    socket.write(
      `GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n` +
        'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    const [head] = (await once(socket, 'data')) as [Buffer]
    return { status: Number(String(head).split(' ')[1]), socket, ended }
  }
}

/** A moment at which somebody waits to be let on. */
function createStop() {
  let arrive = () => {}
  let letOn = () => {}
  const arrived = new Promise<void>((resolve) => (arrive = resolve))
  const released = new Promise<void>((resolve) => (letOn = resolve))
  const wait = async () => {
    arrive()
    await released
  }
  return { wait, arrived, letOn: () => letOn() }
}

for (const own of [false, true])
  t.test(`@fastify/websocket is registered by ${own ? 'the application' : 'Everwire'}`, async (t) => {
    const mount = async (app: FastifyInstance) => {
      if (own) await app.register(websocket)
      await app.register(everwire, options)
    }

    t.test('an upgrade that comes while the application closes does not hold it up', async (t) => {
      const app = Fastify()
      const stop = createStop()
      app.addHook('preClose', stop.wait)
      await mount(app)
      const upgrade = await start(t, app)
      const before = await upgrade('/everwire/websocket')
      t.equal(before.status, 101)
      before.socket.destroy()
      const closed = app.close()
      await stop.arrived
      const { status, ended } = await upgrade('/everwire/websocket')
      t.equal(status, 503)
      await ended
      stop.letOn()
      await closed
    })

    t.test('nor does one that comes when @fastify/websocket has stopped to listen', async (t) => {
      const app = Fastify()
      const stop = createStop()
      await mount(app)
      await app.register(async (last) => void last.addHook('preClose', stop.wait))
      const upgrade = await start(t, app)
      const closed = app.close()
      await stop.arrived
      const { status, ended } = await upgrade('/everwire/websocket')
      t.equal(status, 503)
      await ended
      stop.letOn()
      await closed
      t.equal(app.server.listenerCount('upgrade'), 0)
    })
  })

t.test('what nobody else listens to is answered as by any route, and the socket let go', async (t) => {
  const app = Fastify()
  await app.register(everwire, options)
  app.get('/hello', async () => {
    await setImmediate()
    return 'hello'
  })
  const upgrade = await start(t, app)
  for (const [path, wanted] of [
    ['/else', 404],
    ['/%zz', 400],
    ['/everwire/%zz', 400],
    ['/everwire/else', 404],
  ] as const) {
    const { status, ended } = await upgrade(path)
    t.equal(status, wanted, path)
    await ended
  }
  const { status, socket, ended } = await upgrade('/hello')
  t.equal(status, 200, 'later, from a handler')
  socket.end()
  await ended
  t.equal((await upgrade('/hello')).status, 200)
  await app.close()
  t.pass('one that is never hung up does not hold the close')
})

t.test('other listeners keep their upgrades, whenever they came', async (t) => {
  for (const first of [true, false]) {
    const app = Fastify()
    const sockets: Socket[] = []
    const listen = () =>
      app.server.on('upgrade', ({ url }, socket: Socket) => {
        if (!url?.startsWith('/other')) return
        sockets.push(socket)
        socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n')
      })
    if (first) listen()
    await app.register(
      async (api) => {
        await api.register(everwire, { ...options, prefix: '/live' })
      },
      { prefix: '/:tenant' },
    )
    if (!first) listen()
    const upgrade = await start(t, app)
    for (const [path, status] of [
      ['/api/live/websocket', 101],
      ['/api/Live/websocket?a', 404],
      ['/api/live/else', 404],
    ] as const) {
      const { status: got, socket } = await upgrade(path)
      t.equal(got, status, path)
      socket.destroy()
    }
    const { status, socket } = await upgrade('/other')
    t.equal(status, 101)
    socket.end()
    const [other] = sockets as [Socket]
    other.resume()
    await once(other, 'end')
    const heard = once(socket, 'data')
    other.write('still there')
    t.equal(String((await heard)[0]), 'still there', 'nobody else touches its socket')
    other.destroy()
  }
})
