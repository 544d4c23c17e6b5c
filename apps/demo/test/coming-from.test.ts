import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import * as busNats from '@everwire/bus-nats'
import { startNats } from '@everwire/testkit/nats-server'
import websocket from '@fastify/websocket'
import { EventSource } from 'eventsource'
import * as everwireClient from 'everwire/client'
import type { Channel, Client, ClientOptions } from 'everwire/client'
import * as everwireServer from 'everwire/server'
import { EverwireError } from 'everwire/server'
import Fastify, { type FastifyInstance } from 'fastify'
import * as socketServer from 'socket.io'
import * as socketClient from 'socket.io-client'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { WebSocket } from 'ws'

// The guides for those who come from elsewhere: their blocks are run as they stand, but for addresses, and what the text
// beside them says is asserted. No block may be left out that does not say so.

type Scope = Record<string, unknown>

const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (
  ...text: string[]
) => (...values: unknown[]) => Promise<Scope>

/** Runs a part of a block with what earlier ones made, and adds what it makes. */
async function run(code: string, scope: Scope, modules: Scope): Promise<void> {
  const program = code.replace(/^import (?:(\w+)|(\{.*\})) from '(.*)'$/gm, (_line, name, names, from) =>
    name ? `const ${name} = modules['${from}'].default` : `const ${names} = modules['${from}']`,
  )
  const made = [...code.matchAll(/^(?:const|let|(?:async )?function) (?:(\w+)|[[{](.*)[\]}] =)/gm)].flatMap(
    ([, name, names]) => (name ? [name] : names!.split(',').map((part) => part.split(':').pop()!.trim())),
  )
  const given = { ...scope, modules }
  const text = `{ ${program}\nreturn { ${made.join(', ')} } }`
  Object.assign(scope, await new AsyncFunction(...Object.keys(given), text)(...Object.values(given)))
}

/** What was shown, and a wait for more. */
function createLog() {
  const calls: unknown[][] = []
  let wake: (() => void)[] = []
  return {
    calls,
    show: (...values: unknown[]) => {
      calls.push(values)
      for (const resolve of wake.splice(0)) resolve()
    },
    /** Resolves, with all that was shown, once it is so much; and begins anew. */
    async take(count: number): Promise<unknown[][]> {
      while (calls.length < count) await new Promise<void>((resolve) => wake.push(resolve))
      wake = []
      return calls.splice(0)
    },
  }
}

const createApp = (): FastifyInstance => Fastify({ forceCloseConnections: true })

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

/** The blocks of a guide, and which of them were not asked for yet. */
function openGuide(name: string) {
  const text = readFileSync(new URL(`../../../docs/migration/${name}`, import.meta.url), 'utf8')
  const blocks = new Map(
    [...text.matchAll(/^```(\w+.*)\n([\s\S]*?)^```/gm)].map(([, tag, code]) => [tag!, code!]),
  )
  const left = new Set([...blocks.keys()].filter((tag) => !tag.endsWith(' untested')))
  const block = (tag: string) => {
    left.delete(tag)
    const code = blocks.get(tag)
    if (code === undefined) throw new Error(`${name} has no block ${tag}`)
    return code
  }
  return { text, left, block }
}

type Guide = ReturnType<typeof openGuide>

class Socket extends WebSocket {
  static readonly open = new Set<Socket>()
  constructor(url: string) {
    super(url)
    Socket.open.add(this)
    this.on('close', () => Socket.open.delete(this))
  }
}

const users: Record<string, { id: string; admin: boolean }> = {
  'token of ann': { id: 'ann', admin: false },
  'token of bob': { id: 'bob', admin: false },
}
const serverKey = 'k'.repeat(32)
const verify = async (token: string | undefined) => users[token ?? ''] ?? null
const authenticate = async ({ token }: { token: string | undefined }) => {
  const user = await verify(token)
  return user && { userId: user.id, claims: { admin: user.admin } }
}

/** The lines between the parts of a block, which run in different programs. */
const partEnds = /^\/\/ (?:client|server|anywhere else)$/m

/** Everything that the blocks of a guide find around them. */
async function createPlace(t: Test, guide: Guide) {
  const port = await freePort()
  const address = `http://127.0.0.1:${port}`
  const log = createLog()
  const clients: Client[] = []
  const createClient = (options: ClientOptions) => {
    // One alone is never left, however often it is cut.
    const transports = [everwireClient.webSocket({ WebSocket: Socket })]
    const url = options.url.replace(/^\//, `${address}/`)
    const client = everwireClient.createClient({ transports, backoffMs: 50, ...options, url })
    clients.push(client)
    t.teardown(() => client.close())
    return client
  }
  const sockets: socketClient.Socket[] = []
  const io = (url: string, options = {}) => {
    // Straight to WebSocket: who is closed in the middle of an upgrade leaves timers behind.
    const set = { transports: ['websocket'], reconnectionDelay: 20, ...options, forceNew: true }
    const socket = socketClient.io(url, set)
    sockets.push(socket)
    t.teardown(() => void socket.close())
    return socket
  }
  const sources: EventSource[] = []
  class PageEventSource extends EventSource {
    constructor(url: string) {
      super(new URL(url, address))
      sources.push(this)
      t.teardown(() => this.close())
    }
  }
  // Straight from their packages, for blocks that go on with what the first section imports.
  const imported = {
    Server: socketServer.Server,
    everwire: everwireServer.everwire,
    EverwireError,
    createClient,
  }
  const modules: Scope = {
    fastify: { default: createApp },
    '@everwire/bus-nats': busNats,
    'everwire/server': everwireServer,
    'everwire/client': { ...everwireClient, createClient },
    'socket.io': socketServer,
    'socket.io-client': { ...socketClient, io },
  }
  const scope: Scope = {
    ...imported,
    verify,
    authenticate,
    getToken: () => 'token of ann',
    show: log.show,
    reload: (...values: unknown[]) => log.show('reload', ...values),
    EventSource: PageEventSource,
    fetch: (url: string, init?: RequestInit) => fetch(new URL(url, address), init),
    save: async (item: string) => `id of ${item}`,
    mayRead: (user: string, room: string) => room !== 'secret' || user === 'bob',
  }
  /** Runs a block, with something between its parts. */
  const play = async (tag: string, between = async () => {}, edit = (code: string) => code) => {
    const parts = edit(guide.block(tag))
      .replaceAll('http://localhost:3000', address)
      .replaceAll('port: 3000', `port: ${port}, host: '127.0.0.1'`)
      .split(partEnds)
    for (const [at, part] of parts.entries()) {
      if (at > 0) await between()
      await run(part, scope, modules)
    }
  }
  return { port, address, log, clients, sockets, sources, scope, modules, createClient, io, play }
}

type Place = Omit<Awaited<ReturnType<typeof createPlace>>, 'play'>

const everwireOf = ({ scope }: Place) => (scope.app as FastifyInstance).everwire

/** An EventTarget as `once` takes it. */
const asEmitter = (target: unknown) => target as NodeJS.EventEmitter

/** Waits until a client is connected, over a connection of its own if one was there. */
const connected = (client: Client) =>
  new Promise<void>((resolve) => {
    if (client.state === 'connected') return resolve()
    const off = client.on('state', ({ state }) => {
      if (state !== 'connected') return
      off()
      resolve()
    })
    client.connect()
  })

/** Cuts every WebSocket; resolves once the client knows. */
async function cut(client: Client): Promise<void> {
  const known = new Promise<void>((resolve) => {
    const off = client.on('state', ({ state }) => {
      if (state === 'connected') return
      off()
      resolve()
    })
  })
  for (const socket of Socket.open) socket.terminate()
  await known
}

/** The next publication of an event. */
const next = (channel: Channel, event: string) =>
  new Promise<unknown>((resolve) => {
    const off = channel.on(event, (data) => {
      off()
      resolve(data)
    })
  })

/** What the tables say of a drop, and of a session that is lost, for `chat:a` with history and `live:a` without. */
async function assertRecovery(t: Test, place: Place): Promise<void> {
  const client = place.scope.client as Client
  const { publish, sessions } = everwireOf(place)
  const send = (value: string) => {
    for (const channel of ['chat:a', 'live:a']) void publish(channel, 'message', `${channel} ${value}`)
  }
  const sorted = async () => (await place.log.take(2)).map((values) => values.join(' ')).sort()
  await cut(client)
  send('dropped')
  t.strictSame(await sorted(), ['chat:a dropped', 'live:a dropped'], 'after a drop')
  await cut(client)
  for (const session of sessions('ann')) session.end('unknown-session')
  send('forgotten')
  t.strictSame(await sorted(), ['chat:a forgotten', 'reload live:a session'], 'after the session was lost')
}

t.test('from Socket.IO', async (t) => {
  const guide = openGuide('from-socket-io.md')
  const place = await createPlace(t, guide)
  const { log, scope, play, io, address } = place

  // The whole guide is played on an application that runs both, as its last section says.
  scope.app = createApp()
  await play('js ours together')
  const app = scope.app as FastifyInstance
  t.teardown(() => app.close())
  const server = scope.io as socketServer.Server
  server.use(async (socket, next) => {
    socket.data.user = await verify(socket.handshake.auth.token)
    next(socket.data.user ? undefined : new Error('unauthorized'))
  })
  await app.listen({ port: place.port, host: '127.0.0.1' })

  const client = place.createClient({ url: `${address}/everwire`, getToken: () => 'token of ann' })
  const other = place.createClient({ url: `${address}/everwire`, getToken: () => 'token of bob' })
  scope.client = client
  await Promise.all([connected(client), connected(other)])

  /** Plays what Socket.IO does: its clients connect once the server knows what to do with them. */
  let otherSocket: socketClient.Socket
  const theirs = async (tag: string, ready = async () => {}) => {
    const connect = async (token: string) => {
      const socket = io(address, { auth: { token } })
      await once(socket as never, 'connect')
      return socket
    }
    server.disconnectSockets(true)
    server.removeAllListeners('connection')
    // Where the client comes first, it must be there at once.
    if (/^\/\/ \S+, client/.test(guide.block(tag))) scope.socket = await connect('token of ann')
    let first = true
    await play(tag, async () => {
      if (!first || scope.socket) return
      first = false
      scope.socket = await connect('token of ann')
      otherSocket = await connect('token of bob')
      await ready()
    })
    delete scope.socket
  }

  t.test('both run on one server, over WebSocket', async (t) => {
    /** Begins with polling, as it does by itself. */
    const upgraded = async (address: string) => {
      const socket = io(address, { auth: { token: 'token of ann' }, transports: ['polling', 'websocket'] })
      await once(socket as never, 'connect')
      const { engine } = socket.io
      while (engine.transport.name !== 'websocket') await once(engine as never, 'upgrade')
      socket.close()
    }
    await upgraded(address)
    t.equal(client.transport, 'websocket')

    const app = createApp()
    await app.register(everwireServer.everwire, { authenticate })
    const server = new socketServer.Server(app.server)
    t.teardown(async () => {
      server.disconnectSockets(true)
      await app.close()
    })
    const turned = await app.listen({ port: 0, host: '127.0.0.1' })
    const other = place.createClient({ url: `${turned}/everwire`, getToken: () => 'token of ann' })
    await Promise.all([upgraded(turned), connected(other)])
    t.equal(other.transport, 'websocket', 'in the other order')
    other.close()
  })

  t.test('connecting, and who it is', async (t) => {
    for (const side of ['theirs', 'ours'])
      for (const [token, shown] of [
        ['token of ann', undefined],
        ['nobody', 'unauthorized'],
      ]) {
        const alone = await createPlace(t, guide)
        alone.scope.getToken = () => token
        await alone.play(`js ${side} connect`)
        t.teardown(() => (alone.scope.app as FastifyInstance).close())
        if (shown) t.strictSame(await alone.log.take(1), [[shown]], side)
        else if (side === 'theirs') await once(alone.scope.socket as never, 'connect')
        else await connected(alone.scope.client as Client)
        for (const socket of alone.sockets) socket.close()
        for (const client of alone.clients) client.close()
      }
  })

  t.test('an expired token is fetched anew, and the session goes on', async (t) => {
    const alone = await createPlace(t, guide)
    let valid = 'first'
    const asked: string[] = []
    alone.scope.getToken = () => {
      asked.push(valid)
      return valid
    }
    alone.scope.verify = async (token: string) => {
      if (token !== valid) throw new EverwireError('token-expired')
      return { id: 'ann' }
    }
    await alone.play('js ours connect')
    const app = alone.scope.app as FastifyInstance
    t.teardown(() => app.close())
    const client = alone.scope.client as Client
    await connected(client)
    const [before] = app.everwire.sessions('ann')
    valid = 'second'
    await cut(client)
    await connected(client)
    t.strictSame(asked, ['first', 'second'])
    t.equal(app.everwire.sessions('ann')[0], before)
    client.close()
  })

  t.test('with @fastify/websocket of its own an application leaves Socket.IO without', async (t) => {
    const app = createApp()
    t.teardown(() => app.close())
    const server = new socketServer.Server(app.server)
    t.teardown(() => server.disconnectSockets(true))
    await app.register(websocket)
    await app.register(everwireServer.everwire, { authenticate })
    const socket = io(await app.listen({ port: 0, host: '127.0.0.1' }), { reconnection: false })
    const [error] = (await once(socket as never, 'connect_error')) as [Error]
    t.match(error, { message: 'websocket error' })
  })

  /** Both sides show the same, or each its own. */
  const both = async (t: Test, tag: string, shown: unknown[][], ours = shown) => {
    await theirs(`js theirs ${tag}`)
    t.strictSame(await log.take(shown.length), shown, 'theirs')
    await play(`js ours ${tag}`)
    t.strictSame(await log.take(ours.length), ours, 'ours')
  }

  t.test('rooms, and events in them', async (t) => {
    await both(t, 'rooms', [['hello', 'ann']])
    const secret = client.channel('room:secret')
    await t.rejects(secret.subscribe(), { code: 'forbidden' })
    await t.rejects(secret.publish('message', {}), { code: 'forbidden' })
    await t.rejects(client.channel('unknown:a').subscribe(), { code: 'unknown-channel' })
  })

  t.test('to all but the sender', async (t) => {
    const heard = createLog()
    await theirs('js theirs broadcast', async () => {
      for (const event of ['moved', 'ended'])
        otherSocket.on(event, (...values) => heard.show(event, ...values))
    })
    t.strictSame(await heard.take(2), [['moved', 'e4'], ['ended']])
    t.strictSame(await log.take(1), [['ended']])
    const game = other.channel('game:1')
    game.on('*', (data, { event }) => heard.show(event, data))
    everwireOf(place).channel('game:1', { subscribe: true })
    await game.subscribe()
    await play('js ours broadcast')
    t.strictSame(await heard.take(2), [
      ['moved', 'e4'],
      ['ended', undefined],
    ])
    t.strictSame(await log.take(1), [['ended']])
  })

  t.test('acknowledgements', async (t) => {
    const first = [{ id: 'id of tea' }]
    await both(t, 'ack', [first, [{ error: 'sold out' }]], [first, ['app:sold-out']])
  })

  t.test('the server asks', (t) => both(t, 'ask', [[true]]))
  t.test('the server listens', (t) => both(t, 'follow', [['ann', 'hello']]))
  t.test('one user', (t) => both(t, 'user', [['for ann']]))
  t.test('middleware', (t) => both(t, 'middleware', [['said'], ['too long']], [['said'], ['forbidden']]))
  t.test('namespaces', (t) => both(t, 'namespace', [['forbidden']]))
  t.test('binary', async (t) => {
    await both(t, 'binary', [[3]])
    // It does not stay one inside an object.
    await t.rejects(client.request('photo', { bytes: new Uint8Array(70_000) }), { code: 'frame-too-large' })
    everwireOf(place).method('echo', (_session, input) => input)
    t.strictSame(await client.request('echo', { bytes: new Uint8Array(2) }), { bytes: { 0: 0, 1: 0 } })
  })

  t.test('Socket.IO loses what was sent while the connection was away, but with recovery', async (t) => {
    for (const recovery of [true, false]) {
      const alone = await createPlace(t, guide)
      const app = createApp()
      alone.scope.app = app
      await app.listen({ port: alone.port, host: '127.0.0.1' })
      t.teardown(() => app.close())
      const plain = (code: string) => code.replace(/, \{ connectionStateRecovery.*? \} \}/, '')
      await alone.play(
        'js theirs recovery',
        async () => {
          alone.scope.socket = alone.io(alone.address)
        },
        recovery ? (code) => code : plain,
      )
      const socket = alone.scope.socket as socketClient.Socket
      const server = alone.scope.io as socketServer.Server
      t.strictSame(await alone.log.take(1), [['reload']], 'the first time there is nothing to recover')
      server.to('chat').emit('message', 'before')
      await alone.log.take(1)
      server.on('connection', (late) => void late.on('late', (text) => alone.log.show('late', text)))
      const gone = once(socket as never, 'disconnect')
      socket.io.engine.close()
      await gone
      socket.emit('late', 'kept')
      server.to('chat').emit('message', 'missed')
      await once(socket as never, 'connect')
      server.to('chat').emit('message', 'after')
      t.strictSame((await alone.log.take(3)).sort(), [
        ['after'],
        ['late', 'kept'],
        [recovery ? 'missed' : 'reload'],
      ])
      socket.close()
    }
  })

  t.test('reconnecting loses nothing, or tells', async (t) => {
    await play('js ours recovery')
    await assertRecovery(t, place)
  })

  t.test('what a client publishes while it is offline is stored once', async (t) => {
    const chat = client.channel('chat:b')
    await chat.subscribe()
    await cut(client)
    const published = [
      chat.publish('message', 'offline'),
      client.channel('room:lobby').publish('message', { text: 'offline' }),
    ]
    t.match(await Promise.all(published), [{ offset: Number }, {}])
    t.strictSame(
      (await chat.history()).publications.map(({ data }) => data),
      ['offline'],
    )
    log.calls.splice(0)
  })

  t.test('a server alone that is restarted tells a gap', async (t) => {
    const alone = await createPlace(t, guide)
    const start = async () => {
      const app = createApp()
      alone.scope.app = app
      await app.register(everwireServer.everwire, { authenticate })
      t.teardown(() => app.close())
      return app
    }
    const first = await start()
    await first.listen({ port: alone.port, host: '127.0.0.1' })
    const client = alone.createClient({ url: `${alone.address}/everwire`, getToken: () => 'token of ann' })
    alone.scope.client = client
    await alone.play('js ours recovery')
    await first.close()
    const app = await start()
    for (const pattern of ['chat:*', 'live:*'])
      app.everwire.channel(pattern, { ...(pattern === 'chat:*' && { history: {} }), subscribe: true })
    await app.listen({ port: alone.port, host: '127.0.0.1' })
    t.strictSame((await alone.log.take(2)).map((values) => values.join(' ')).sort(), [
      'reload chat:a epoch',
      'reload live:a session',
    ])
    client.close()
  })

  t.test('several nodes, and a restart with NATS', async (t) => {
    const bus = await startNats()
    t.teardown(() => bus.stop())
    const open = async (port: number) => {
      const app = createApp()
      t.teardown(() => app.close())
      await run(
        guide.block('js ours nodes').replace('nats://localhost:4222', bus.url),
        { ...scope, app },
        place.modules,
      )
      app.everwire.channel('chat:*', { history: {}, subscribe: true, publish: true })
      await app.listen({ port, host: '127.0.0.1' })
      return app
    }
    const ports = [await freePort(), await freePort()] as const
    const [first] = [await open(ports[0]), await open(ports[1])]
    const [ann, bob] = ports.map((port, at) =>
      place.createClient({
        url: `http://127.0.0.1:${port}/everwire`,
        getToken: () => `token of ${['ann', 'bob'][at]}`,
      }),
    )
    const chat = ann!.channel('chat:a')
    const heard = createLog()
    chat.on('*', heard.show)
    chat.on('gap', (gap) => heard.show(gap))
    await chat.subscribe()
    await bob!.channel('chat:a').publish('message', 'from another node')
    t.match(await heard.take(1), [['from another node']])
    await first.close()
    await bob!.channel('chat:a').publish('message', 'meanwhile')
    await open(ports[0])
    t.match(await heard.take(1), [['meanwhile']], 'nothing is lost by a restart')
    ann!.close()
    bob!.close()
  })

  t.test('moving in steps: what the server sends goes to both', async (t) => {
    await play('js ours both')
    server.removeAllListeners('connection')
    server.on('connection', (socket) => void socket.join('lobby'))
    const socket = io(address, { auth: { token: 'token of ann' } })
    await once(socket as never, 'connect')
    const step = client.channel('step:lobby')
    await step.subscribe()
    const heard = Promise.all([once(socket as never, 'message'), next(step, 'message')])
    await (scope.send as (...values: unknown[]) => Promise<void>)('lobby', 'message', 'to both')
    t.strictSame(await heard, [['to both'], 'to both'])
  })

  t.test('every block was run', async (t) => t.strictSame([...guide.left], []))
})

/** An application of its own, whose routes are those of the blocks. */
async function startApp(t: Test, guide: Guide) {
  const place = await createPlace(t, guide)
  const app = createApp()
  t.teardown(() => app.close())
  place.scope.app = app
  place.scope.key = serverKey
  let listening = false
  const listen = async () => {
    if (listening) return
    listening = true
    await app.listen({ port: place.port, host: '127.0.0.1' })
  }
  /** Who connects does so once it listens, and hears what is said after it is connected. */
  const between = async () => {
    await listen()
    for (const source of place.sources)
      if (source.readyState !== source.OPEN) await once(asEmitter(source), 'open')
  }
  const base = async (tag: string) => {
    const [server] = guide.block(tag).split('// client')
    await run(server!, place.scope, place.modules)
  }
  const play = async (tag: string, ready = async () => {}) => {
    if (/^\/\/ .*, client/.test(guide.block(tag))) await listen()
    let first = true
    await place.play(tag, async () => {
      await listen()
      if (first) await ready()
      first = false
      await between()
    })
  }
  return { ...place, app, listen, base, play, between }
}
/** One with Everwire, and a client. */
async function startEverwire(t: Test, guide: Guide) {
  const place = await startApp(t, guide)
  await place.app.register(everwireServer.everwire, { authenticate, serverKeys: [serverKey] })
  await place.listen()
  const client = place.createClient({ url: '/everwire', getToken: () => 'token of ann' })
  place.scope.client = client
  await connected(client)
  return { ...place, client }
}
t.test('from hand-made Server-Sent Events', async (t) => {
  const guide = openGuide('from-sse.md')
  const start = (t: Test) => startApp(t, guide)
  const startTheirs = async (t: Test) => {
    const place = await start(t)
    await place.base('js theirs connect')
    return place
  }
  const startOurs = (t: Test) => startEverwire(t, guide)
  const both = async (t: Test, tag: string, shown: unknown[][]) => {
    const theirs = await startTheirs(t)
    await theirs.play(`js theirs ${tag}`)
    t.strictSame(await theirs.log.take(shown.length), shown, 'theirs')
    const ours = await startOurs(t)
    await ours.play(`js ours ${tag}`)
    t.strictSame(await ours.log.take(shown.length), shown, 'ours')
    return { theirs, ours }
  }

  t.test('connecting', async (t) => {
    for (const side of ['theirs', 'ours']) {
      const place = await start(t)
      await place.play(`js ${side} connect`)
      t.strictSame(await place.log.take(1), [['connected']], side)
    }
  })
  t.test('events', async (t) => void (await both(t, 'events', [[42]])))
  t.test('topics', async (t) => {
    const { ours } = await both(t, 'topics', [[2]])
    await t.rejects(ours.client.channel('topic:secret').subscribe(), { code: 'forbidden' })
  })
  t.test('one user', async (t) => void (await both(t, 'user', [['for ann']])))
  t.test('binary', async (t) => void (await both(t, 'binary', [[3]])))

  t.test('who it is', async (t) => {
    for (const [side, shown] of [
      ['theirs', 'closed'],
      ['ours', 'unauthorized'],
    ] as const) {
      const place = side === 'theirs' ? await startTheirs(t) : await start(t)
      place.scope.getToken = () => 'nobody'
      await place.play(`js ${side} auth`)
      t.strictSame(await place.log.take(1), [[shown]], side)
    }
  })

  t.test('coming back: what your own buffer forgets nobody knows; here a gap tells', async (t) => {
    const theirs = await startTheirs(t)
    await theirs.play('js theirs replay')
    await theirs.between()
    const { add, readers, source } = theirs.scope as {
      add: (data: number) => void
      readers: Set<{ destroy(): void }>
      source: EventSource
    }
    const dropTheirs = async (numbers: number[]) => {
      const gone = once(asEmitter(source), 'error')
      for (const res of readers) res.destroy()
      await gone
      for (const number of numbers) add(number)
      await once(asEmitter(source), 'open')
    }
    add(1)
    await theirs.log.take(1)
    await dropTheirs([2, 3])
    t.strictSame(await theirs.log.take(2), [[2], [3]], 'theirs: sent again')
    await dropTheirs([4, 5, 6, 7, 8])
    t.strictSame(await theirs.log.take(3), [[6], [7], [8]], 'theirs: some are lost, and nothing tells')

    const { app, client, log, play } = await startOurs(t)
    await play('js ours replay')
    const dropOurs = async (numbers: number[], end = false) => {
      await cut(client)
      if (end) for (const session of app.everwire.sessions('ann')) session.end('unknown-session')
      for (const number of numbers) void app.everwire.publish('log:a', 'line', number)
    }
    await app.everwire.publish('log:a', 'line', 1)
    await log.take(1)
    await dropOurs([2, 3])
    t.strictSame(await log.take(2), [[2], [3]], 'ours: sent again')
    await dropOurs([4, 5, 6, 7, 8], true)
    t.strictSame(await log.take(4), [['reload', 'expired'], [6], [7], [8]], 'ours: a gap tells')
  })

  t.test('the way up, and everybody but the sender', async (t) => {
    const heard = createLog()
    const theirs = await startTheirs(t)
    await theirs.play('js theirs up', async () => {
      for (const from of ['me', 'other']) {
        const source = new (theirs.scope.EventSource as typeof EventSource)(`/room?from=${from}`)
        source.onmessage = ({ data }) => heard.show(from, data)
      }
    })
    t.strictSame(await theirs.log.take(1), [[{ id: 1 }]])
    t.strictSame(await heard.take(1), [['other', 'hello']])

    const ours = await startOurs(t)
    const other = ours.createClient({ url: '/everwire', getToken: () => 'token of bob' })
    ours.app.everwire.channel('room:lobby', { history: {}, subscribe: true, publish: true })
    for (const [from, client] of [
      ['me', ours.client],
      ['other', other],
    ] as const) {
      const room = client.channel('room:lobby')
      room.on('message', (data) => heard.show(from, data))
      await room.subscribe()
    }
    await ours.play('js ours up')
    t.strictSame(await ours.log.take(1), [[{ id: 1 }]])
    t.type(ours.scope.offset, 'number')
    t.strictSame((await heard.take(3)).sort(), [
      ['me', 'to all, me too'],
      ['other', 'hello'],
      ['other', 'to all, me too'],
    ])
  })

  t.test('an EventSource reads a channel, and a key publishes', async (t) => {
    const place = await start(t)
    await place.play('js ours free')
    t.strictSame(await place.log.take(1), [[{ title: 'hello' }]])
  })

  t.test('moving in steps: both on one application', async (t) => {
    const place = await startTheirs(t)
    await place.base('js theirs events')
    await place.app.register(everwireServer.everwire, { authenticate })
    await place.play('js ours together')
    await place.listen()
    const source = new (place.scope.EventSource as typeof EventSource)('/events')
    await once(asEmitter(source), 'open')
    const client = place.createClient({ url: '/everwire', getToken: () => 'token of ann' })
    const events = client.channel('events:all')
    await events.subscribe()
    const heard = Promise.all([once(asEmitter(source), 'price'), next(events, 'price')])
    await (place.scope.sendBoth as (...values: unknown[]) => Promise<void>)('price', 42)
    const [[event], price] = await heard
    t.strictSame([(event as MessageEvent).data, price], ['42', 42])
  })

  t.test('every block was run', async (t) => t.strictSame([...guide.left], []))
})

/** What the compiler says of blocks that cannot be run here, against the types of the packages that they import. */
function compile(blocks: readonly string[]): string[] {
  const around = `
    import type { HubConnection, HubConnectionBuilder as Builder } from '@microsoft/signalr'
    import type Pusher from 'pusher-js'
    import type PusherServer from 'pusher'
    declare global {
      const app: any, verify: any, mayRead: any, show: any, reload: any
      const getToken: () => string
      const connection: HubConnection
      const HubConnectionBuilder: typeof Builder
      const pusher: Pusher
      const server: PusherServer
    }`
  const files = new Map(
    [around, ...blocks.flatMap((block) => block.split(partEnds))].map((code, at) => [
      `${import.meta.dirname}/block-${at}.ts`,
      `${code}\nexport {}`,
    ]),
  )
  const options: ts.CompilerOptions = {
    noEmit: true,
    strict: false,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    esModuleInterop: true,
    types: ['node'],
  }
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile, getSourceFile } = host
  host.fileExists = (name) => files.has(name) || fileExists(name)
  host.readFile = (name) => files.get(name) ?? readFile(name)
  host.getSourceFile = (name, ...rest) => {
    const code = files.get(name)
    return code === undefined
      ? getSourceFile(name, ...rest)
      : ts.createSourceFile(name, code, ts.ScriptTarget.ES2022)
  }
  const program = ts.createProgram([...files.keys()], options, host)
  return [...files.keys()].flatMap((name) => {
    const file = program.getSourceFile(name)
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      ({ messageText }) => `${ts.flattenDiagnosticMessageText(messageText, ' ')} in ${files.get(name)}`,
    )
  })
}

t.test('the blocks of Pusher and SignalR are right by their types', async (t) => {
  const blocks = ['from-pusher.md', 'from-signalr.md'].flatMap((name) => {
    const guide = openGuide(name)
    return [...guide.left].filter((tag) => tag.startsWith('js theirs ')).map(guide.block)
  })
  t.ok(blocks.length > 10)
  t.match(compile([...blocks, 'pusher.subscrib("a")']), [/'subscrib' does not exist/])
})

t.test('from Pusher', async (t) => {
  const guide = openGuide('from-pusher.md')
  const start = (t: Test) => startEverwire(t, guide)
  const shows = async (t: Test, tag: string, shown: unknown[][], ready?: () => Promise<void>) => {
    const place = await start(t)
    await place.play(`js ours ${tag}`, ready)
    t.strictSame(await place.log.take(shown.length), shown)
    return place
  }

  t.test('connecting', async (t) => {
    const place = await startApp(t, guide)
    await place.play('js ours connect')
    t.strictSame(await place.log.take(2), [['connecting'], ['connected']])
  })
  t.test('channels and events', async (t) => void (await shows(t, 'events', [['hello']])))
  t.test('binary', async (t) => void (await shows(t, 'binary', [[3]])))

  t.test('private channels are asked for again at every reconnect', async (t) => {
    const { client, scope } = await shows(t, 'private', [['forbidden']])
    let may = true
    everwireOf({ ...(await start(t)), scope }).channel('room:*', { subscribe: () => may })
    everwireOf({ ...(await start(t)), scope }).channel('room:lobby', { subscribe: () => may })
    const lobby = client.channel('room:lobby')
    await lobby.subscribe()
    may = false
    const told = next(lobby, 'unsubscribed')
    await cut(client)
    t.strictSame(await told, { code: 'forbidden' })
  })

  t.test('client events, and all but the sender', async (t) => {
    const place = await start(t)
    const { client, log, play, createClient } = place
    await play('js ours client-events')
    const other = createClient({ url: '/everwire', getToken: () => 'token of bob' })
    const room = other.channel('lobby:a')
    await room.subscribe()
    const said = next(room, 'said')
    await room.publish('typing', { name: 'Bob' })
    t.strictSame(await log.take(1), [['Bob']], 'the own one was left out')
    await t.rejects(room.publish('else'), { code: 'forbidden' })
    client.channel('lobby:a').on('said', () => log.show('heard itself'))
    await play('js ours except')
    t.equal(await said, 'hello')
    await everwireOf(place).publish('lobby:a', 'typing', { name: 'marker' })
    t.strictSame(await log.take(2), [[{ id: 1 }], ['marker']])
  })

  t.test('other programs publish with a key', async (t) => {
    const place = await start(t)
    await place.play('js ours http')
    const post = place.scope.post as (path: string, data: unknown, id: string) => Promise<Response>
    const offsets = []
    for (const id of ['order-17', 'order-17', 'order-18'])
      offsets.push(
        (
          (await (await post('channels/orders:new?event=placed', { order: 17 }, id)).json()) as {
            offset: string
          }
        ).offset,
      )
    t.equal(offsets[0], offsets[1], 'a repeat is stored once')
    const { publications } = await place.client.channel('orders:new').history()
    t.strictSame(
      publications.map(({ data, meta }) => [meta.event, data]),
      [
        ['placed', { order: 17 }],
        ['placed', { order: 17 }],
      ],
    )
    const me = place.client.channel('@me')
    await me.subscribe()
    const note = next(me, 'note')
    t.equal((await post('users/ann?event=note', 'for ann', 'note-18')).status, 202)
    t.equal(await note, 'for ann')
  })

  t.test('the server hears what clients publish', async (t) => {
    await shows(t, 'webhook', [['ann', 'typing', { name: 'Ann' }]])
  })

  t.test('one user, whose session is ended', async (t) => {
    const { client, log, play } = await shows(t, 'user', [['for ann']])
    await play('js ours end')
    t.strictSame(await log.take(1), [['bye']], 'said before')
    while (client.state !== 'closed')
      await new Promise<void>((resolve) => client.on('state', () => resolve()))
    t.pass('it does not come back')
  })

  t.test('what a cache channel has comes first, and nothing between is missed', async (t) => {
    const place = await start(t)
    const { publish } = everwireOf(place)
    await place.play('js ours cache', async () => {
      for (const price of [41, 42]) await publish('price:tea', 'changed', price)
    })
    await publish('price:tea', 'changed', 43)
    t.strictSame(await place.log.take(2), [[42], [43]])
  })

  t.test('moving in steps: both are told', async (t) => {
    const place = await start(t)
    const triggered: unknown[] = []
    place.scope.server = { trigger: async (...values: unknown[]) => triggered.push(values) }
    await place.play('js ours together')
    const step = place.client.channel('step:news')
    await step.subscribe()
    const heard = next(step, 'headline')
    await (place.scope.triggerBoth as (...values: unknown[]) => Promise<void>)('news', 'headline', 'hello')
    t.strictSame([triggered, await heard], [[['news', 'headline', 'hello']], 'hello'])
  })

  t.test('every block of ours was run', async (t) =>
    t.strictSame(
      [...guide.left].filter((tag) => !tag.startsWith('js theirs ')),
      [],
    ),
  )
})

t.test('from SignalR', async (t) => {
  const guide = openGuide('from-signalr.md')
  const start = (t: Test) => startEverwire(t, guide)
  const shows = async (t: Test, tag: string, shown: unknown[][]) => {
    const place = await start(t)
    await place.play(`js ours ${tag}`)
    t.strictSame(await place.log.take(shown.length), shown)
    return place
  }

  t.test('connecting', async (t) => {
    const place = await startApp(t, guide)
    await place.play('js ours connect')
    t.strictSame(await place.log.take(2), [
      ['connecting', undefined],
      ['connected', undefined],
    ])
  })

  t.test('methods; a request outlives its connection', async (t) => {
    const place = await shows(t, 'invoke', [[{ id: 'id of tea' }], ['app:sold-out']])
    const { client } = place
    let called = () => {}
    let answer = (_value: string) => {}
    const wait = new Promise<string>((resolve) => (answer = resolve))
    const arrived = new Promise<void>((resolve) => (called = resolve))
    everwireOf(place).method('slow', () => {
      called()
      return wait
    })
    const asked = client.request('slow')
    await arrived
    await cut(client)
    answer('at last')
    t.equal(await asked, 'at last')
  })

  t.test('groups, and the others in one', async (t) => {
    const place = await start(t)
    const other = place.createClient({ url: '/everwire', getToken: () => 'token of bob' })
    everwireOf(place).channel('room:lobby', { subscribe: true, publish: true })
    const room = other.channel('room:lobby')
    await room.subscribe()
    const moved = next(room, 'moved')
    await place.play('js ours groups')
    t.equal(await moved, 'e4')
    await everwireOf(place).publish('room:lobby', 'said', 'marker')
    t.strictSame(await place.log.take(2), [['hello'], ['marker']], 'the sender did not hear its move')
    await t.rejects(place.client.channel('room:admins').subscribe(), { code: 'forbidden' })
    await t.rejects(place.client.channel('room:admins').publish('said'), { code: 'forbidden' })
  })

  t.test('one user', async (t) => void (await shows(t, 'user', [['for ann']])))
  t.test('the server asks a client', async (t) => void (await shows(t, 'results', [[true]])))
  t.test('streaming, to the one who asked', async (t) => {
    const { createClient, scope } = await shows(t, 'stream', [[1], [2], [3], ['done']])
    const other = createClient({ url: '/everwire', getToken: () => 'token of bob' })
    await t.rejects(other.channel(scope.run as string).subscribe(), { code: 'forbidden' })
  })
  t.test('coming back', async (t) => {
    const place = await start(t)
    await place.play('js ours reconnect')
    await assertRecovery(t, place)
  })
  t.test('filters', async (t) => void (await shows(t, 'filter', [['forbidden']])))
  t.test('binary', async (t) => void (await shows(t, 'binary', [[3]])))
  t.test('other programs publish with a key', async (t) => {
    const place = await start(t)
    await place.play('js ours http')
    const { publications } = await place.client.channel('orders:new').history()
    t.match(publications, [{ data: { order: 17 }, meta: { event: 'placed' } }])
  })

  t.test('every block of ours was run, and those in C# say whose they are', async (t) => {
    const left = [...guide.left].filter((tag) => !tag.startsWith('js theirs '))
    t.strictSame(left, ['cs'])
  })
})
