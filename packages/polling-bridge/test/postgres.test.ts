import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, Socket, type Server } from 'node:net'
import { systemClock, type Clock } from '@everwire/core'
import { createFakeClock } from '@everwire/testkit'
import { startPostgres, type Postgres } from '@everwire/testkit/postgres-server'
import pg from 'pg'
import t, { type Test } from 'tap'
import { postgresSignal, type PostgresSignalOptions } from '../src/postgres.js'

const postgres = await startPostgres()
t.teardown(() => postgres.stop())

const soon = { backoffMs: 20, maxBackoffMs: 50 }

/** Starts a signal; each awaited `signal` and `logged` is the next one that nobody has awaited. */
async function start(t: Test, options: Partial<PostgresSignalOptions>, clock: Clock = systemClock) {
  const signals = createQueue<true>()
  const logs = createQueue<string>()
  const settings = { connectionString: postgres.url, channel: 'orders', ...soon, ...options }
  const stop = await postgresSignal(settings)(() => signals.add(true), {
    clock,
    log: (level, _fields, message) => logs.add(`${level}: ${message}`),
  })
  t.teardown(stop)
  return { signal: signals.next, signalled: signals.count, logged: logs.next, stop }
}

function createQueue<T>() {
  const came: T[] = []
  const awaited: ((item: T) => void)[] = []
  let count = 0
  return {
    add(item: T) {
      count++
      const next = awaited.shift()
      if (next) next(item)
      else came.push(item)
    },
    next: () =>
      new Promise<T>((resolve) => {
        if (came.length > 0) resolve(came.shift()!)
        else awaited.push(resolve)
      }),
    count: () => count,
  }
}

async function openClient(t: Test, { url }: Postgres = postgres) {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  return client
}

const notify = async (client: pg.Client, channel: string, payload = '') =>
  void (await client.query('SELECT pg_notify($1, $2)', [channel, payload]))

const portOf = (server: Server) => (server.address() as AddressInfo).port

async function listen(t: Test, serve: (socket: Socket) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    serve(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return server
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 10_000; !(await holds());) {
    if (performance.now() > end) throw new Error(`in vain: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

t.test('by the trigger that the documentation shows, who reads after a signal sees the write', async (t) => {
  const source = await readFile(new URL('../src/postgres.ts', import.meta.url), 'utf8')
  const shown = /```sql\n([^]*?)```/.exec(source)![1]!.replaceAll(/^ \* ?/gm, '')
  const [writer, reader] = [await openClient(t), await openClient(t)]
  await writer.query('CREATE TABLE orders (n int)')
  await writer.query(shown)
  const { signal, signalled } = await start(t, {})
  await signal()

  for (let n = 1; n <= 50; n++) {
    await writer.query('BEGIN')
    await writer.query('INSERT INTO orders VALUES ($1)', [n])
    // Who writes has no answer yet when the signal is awaited.
    const committed = writer.query('COMMIT')
    await signal()
    const { rows } = await reader.query<{ newest: number }>('SELECT max(n) AS newest FROM orders')
    if (rows[0]!.newest !== n) t.fail(`${n} was not there: ${rows[0]!.newest}`)
    await committed
  }
  for (const sql of ['UPDATE orders SET n = 0 WHERE n = 1', 'DELETE FROM orders', 'TRUNCATE orders']) {
    await writer.query(sql)
    await signal()
  }
  t.equal(signalled(), 54)
})

t.test('what is rolled back does not signal, nor what the filter refuses', async (t) => {
  const payloads: string[] = []
  const filter = (payload: string) => {
    payloads.push(payload)
    if (payload === 'a bug') throw new Error('a bug')
    return payload !== 'another one'
  }
  const client = await openClient(t)
  const { signal, signalled, logged } = await start(t, { filter })
  await signal()
  await client.query('BEGIN')
  await notify(client, 'orders', 'rolled back')
  await client.query('ROLLBACK')
  await notify(client, 'orders', 'another one')
  await notify(client, 'orders', 'mine')
  await signal()
  t.strictSame(payloads, ['another one', 'mine'])
  t.equal(signalled(), 2)
  await notify(client, 'orders', 'a bug')
  await signal()
  t.equal(await logged(), 'error: the filter of a PostgreSQL signal has thrown')
})

t.test(
  'a server that dies and comes back is listened to again, with a signal for what was missed',
  async (t) => {
    const before = await start(t, {})
    await before.signal()
    await postgres.kill()
    t.equal(await before.logged(), 'warn: PostgreSQL cannot be listened to: trying again')
    const meanwhile = await start(t, {})
    t.match(await meanwhile.logged(), /^warn/, 'it starts without a database')
    await postgres.start()
    const client = await openClient(t)
    for (const { signal, logged } of [before, meanwhile]) {
      await signal()
      // Another try may have found another reason.
      for (let line = await logged(); line !== 'info: PostgreSQL is listened to again';) line = await logged()
    }
    await notify(client, 'orders')
    await Promise.all([before.signal(), meanwhile.signal()])
    t.strictSame([before.signalled(), meanwhile.signalled()], [3, 2])
  },
)

t.test('a connection that an operator ends is opened again', async (t) => {
  const client = await openClient(t)
  const { signal, signalled } = await start(t, { client: { application_name: 'ended' } })
  await signal()
  for (let i = 0; i < 3; i++) {
    await client.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ended'",
    )
    await signal()
  }
  await notify(client, 'orders')
  await signal()
  t.equal(signalled(), 5)
})

t.test('a connection that is half open is found by a ping that is not answered', async (t) => {
  let frozen = false
  const taken: Socket[] = []
  const relay = await listen(t, (socket) => {
    taken.push(socket)
    const upstream = connect(postgres.port, '127.0.0.1')
    upstream.on('error', () => {})
    socket.on('data', (chunk) => frozen || upstream.write(chunk))
    upstream.on('data', (chunk) => frozen || socket.write(chunk))
    socket.on('close', () => upstream.destroy())
  })
  const clock = createFakeClock()
  const connectionString = `postgres://postgres@127.0.0.1:${portOf(relay)}/postgres`
  const { signal, signalled, logged } = await start(t, { connectionString }, clock)
  await signal()
  for (let i = 0; i < 2; i++) {
    t.equal(clock.next, 30_000)
    await clock.advance(30_000)
    await until('an answer to the ping', () => clock.next === 30_000)
  }

  frozen = true
  const client = await openClient(t)
  await notify(client, 'orders')
  const closed = once(taken[0]!, 'close')
  await clock.advance(30_000)
  t.equal(clock.next, 10_000)
  await clock.advance(10_000)
  t.match(await logged(), /^warn/)
  await closed
  t.equal(signalled(), 1)
  frozen = false
  await clock.advance(soon.backoffMs)
  await signal()
  await notify(client, 'orders')
  await signal()
})

t.test('stop leaves nothing: while it listens, connects, waits, or is not answered', async (t) => {
  const clock = createFakeClock()
  const client = await openClient(t)
  const open = async () =>
    (await client.query("SELECT FROM pg_stat_activity WHERE application_name = 'stopped'")).rowCount
  const listening = await start(t, { client: { application_name: 'stopped' } }, clock)
  await listening.signal()
  t.equal(await open(), 1)
  t.equal(clock.pending, 1)
  listening.stop()
  listening.stop()
  t.equal(clock.pending, 0)
  await until('the server has heard of it', async () => (await open()) === 0)
  await notify(client, 'orders')

  // Takes connections, and says nothing.
  const silent = await listen(t, (socket) => socket.resume())
  const away = { connectionString: `postgres://postgres@127.0.0.1:${portOf(silent)}/postgres` }
  const taken = once(silent, 'connection')
  const stream = new Socket()
  const connecting = await start(t, { ...away, client: { stream: () => stream } }, clock)
  const [socket] = (await taken) as [Socket]
  const closed = once(socket, 'close')
  connecting.stop()
  t.ok(stream.destroyed, 'nothing is waited for')
  await closed
  t.equal(clock.pending, 0)

  const unanswered = await start(t, away, clock)
  await clock.advance(10_000)
  t.match(await unanswered.logged(), /^warn/)
  t.equal(clock.pending, 1, 'it waits for another try')
  unanswered.stop()
  t.equal(clock.pending, 0)

  // Before a connection can be known to be one.
  const atOnce = await start(t, away, clock)
  atOnce.stop()
  atOnce.stop()
  await clock.advance(60_000)
  t.equal(clock.pending, 0)
  const all = [listening, connecting, unanswered, atOnce]
  t.strictSame(
    all.map(({ signalled }) => signalled()),
    [1, 0, 0, 0],
  )
})

t.test('a channel is one name, whatever is in it', async (t) => {
  const client = await openClient(t)
  const names = ['Orders', `a"b'; DROP TABLE orders; --`, '"', 'ä'.repeat(31) + 'x', 'a\\b $1']
  for (const channel of names) {
    const { signal, signalled, stop } = await start(t, { channel })
    await signal()
    await notify(client, channel.toLowerCase() === channel ? 'other' : channel.toLowerCase())
    await notify(client, channel)
    await signal()
    t.equal(signalled(), 2, channel)
    stop()
  }
  t.equal((await client.query("SELECT to_regclass('orders') AS found")).rows[0].found, 'orders')
})

t.test('what cannot be right is refused at once', async (t) => {
  for (const channel of ['', 'x'.repeat(64), 'ä'.repeat(32), 'a\0b'])
    t.throws(() => postgresSignal({ channel }), { name: 'TypeError', message: /a channel has 1 to 63 bytes/ })
  t.throws(() => postgresSignal({ channel: 'orders', connectionString: 'postgres://[' }), /Invalid URL/)
})

t.test('a `stream` of the application is used, and one that throws does not end the process', async (t) => {
  let made = 0
  const stream = () => {
    if (++made === 1) throw new Error('not yet')
    return new Socket()
  }
  const { signal, logged } = await start(t, { client: { stream } })
  t.match(await logged(), /^warn/)
  await signal()
  t.equal(made, 2)
})
