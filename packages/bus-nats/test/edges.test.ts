import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import path from 'node:path'
import { channelNameFault, EverwireError, systemClock } from '@everwire/core'
import { startNats, type Nats } from '@everwire/testkit/nats-server'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, headers, nkeys, type Msg, type NatsConnection } from '@nats-io/transport-node'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import {
  channelToSubject,
  createPublisher,
  nats,
  natsPermissions,
  permissionsText,
  subjectToChannel,
  type NatsOptions,
} from '../src/index.js'
import { Connection } from '../src/connection.js'
import { LiveRun } from '../src/live-run.js'
import { Mesh } from '../src/mesh.js'
import { decodeMessage, encodeMessage } from '../src/message.js'
import { readNatsOptions } from '../src/options.js'
import { streamUp } from '../src/stream-up.js'
import { createSubjects, partitionOf } from '../src/subjects.js'
import { createNode, follow, history, listen, openNode, Record, rejection, textOf } from './node.js'

const documentation = readFileSync(new URL('../../../docs/nats.md', import.meta.url), 'utf8')
/** The cells of the documentation's tables, without the marks of code. */
const rows = documentation
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => line.split(' | ').map((cell) => cell.replaceAll(/^\|? *`?|`? *\|?$/g, '')))

const seed = 20_261_123
const runs = { seed, numRuns: 2_000 }

// One server for what needs nothing special: each test takes a prefix of its own.
let server: Nats
let prefixes = 0
const ownPrefix = () => `t${++prefixes}`

t.before(async () => {
  server = await startNats()
})
t.teardown(() => server.stop())

/** A NATS connection that knows nothing of Everwire. */
async function bare(t: Test, options: Parameters<typeof connect>[0] = {}): Promise<NatsConnection> {
  const connection = await connect({ servers: server.url, ...options })
  t.teardown(() => connection.close())
  return connection
}

/** Resolves with what a connection is told not to do. */
async function refusals(connection: NatsConnection, act: () => void): Promise<string[]> {
  const heard: string[] = []
  const statuses = connection.status()
  const watching = (async () => {
    for await (const status of statuses) if (status.type === 'error') heard.push(status.error.message)
  })()
  act()
  await connection.flush()
  ;(statuses as unknown as { stop(): void }).stop()
  await watching
  return heard
}

t.test(
  'no stream is read before it has answered: nats-server 2.9 dies of a reader that comes too early',
  async (t) => {
    const prefix = ownPrefix()
    const watcher = await bare(t)
    const asked: string[] = []
    for (const subject of ['$JS.API.STREAM.MSG.GET.*', `$KV.${prefix}.probe`, `${prefix}.in.*.*.probe`])
      watcher.subscribe(subject, { callback: (_, { subject }) => void asked.push(subject) })
    await watcher.flush()
    const nodes = ['a', 'b', 'c'].map(() => createNode(t, { servers: server.url, prefix, partitions: 2 }))
    await Promise.all(nodes.map((node) => node.open(undefined as never)))
    await Promise.all(nodes.map((node) => node.declare('kept:*', history)))
    for (const channel of ['kept:1', 'kept:2', 'kept:3']) {
      await nodes[0]!.store(channel, history, { event: 'x', data: '1', binary: false })
      t.equal((await nodes[1]!.read(channel, history, { after: 0, limit: 10 })).publications.length, 1)
    }
    await watcher.flush()
    const firstOf = (subject: string) => asked.indexOf(subject)
    const streams = [
      `KV_${prefix}`,
      ...[0, 1].map((index) => createSubjects(prefix).stream('s50-t600000', index)),
    ]
    const probes = [
      `$KV.${prefix}.probe`,
      ...[0, 1].map((index) => `${prefix}.in.s50-t600000.${index}.probe`),
    ]
    for (const [i, stream] of streams.entries()) {
      const probed = firstOf(probes[i]!)
      const read = firstOf(`$JS.API.STREAM.MSG.GET.${stream}`)
      t.ok(probed >= 0 && read > probed, `${stream}: asked at ${probed}, read at ${read}`)
    }
  },
)

t.test('a publisher forgets channels, and tells how far', async (t) => {
  const run = new LiveRun('p', 2)
  const publish = (channel: string) => run.sent(channel, run.next(channel))
  for (const channel of ['a', 'b', 'a']) publish(channel)
  t.strictSame(
    ['a', 'b', 'c'].map((channel) => run.tail(channel)),
    [3, 2, 0],
    'nothing is forgotten',
  )
  publish('c')
  t.strictSame(
    ['a', 'b', 'c'].map((channel) => run.tail(channel)),
    [3, 2, 4],
    'b may go no further than that',
  )
  t.equal(run.tail('d'), 2)
  publish('d')
  t.strictSame(
    ['a', 'b'].map((channel) => run.tail(channel)),
    [3, 3],
  )
})

t.test('a stream is up once it answers, and not before', async (t) => {
  const connection = await Connection.open(
    readNatsOptions({ servers: server.url }),
    { name: 'test', inbox: '_INBOX.up' },
    { log() {}, reconnected() {}, disconnected() {} },
  )
  t.teardown(() => connection.close())
  const name = ownPrefix()
  await t.rejects(streamUp(connection, systemClock, `${name}.x`, 200), { code: 'temporary' })
  let up = false
  const waiting = streamUp(connection, systemClock, `${name}.x`, 20_000).then(() => (up = true))
  await connection.sleep(200)
  t.notOk(up)
  const manager = await jetstreamManager(connection.nats)
  await manager.streams.add({ name, subjects: [`${name}.>`] })
  await waiting
  t.equal((await manager.streams.info(name)).state.messages, 0, 'asking leaves nothing behind')
})

t.test('a channel name and its subject are one another', async (t) => {
  const characters = [...'abzAZ09-_~.%*>$!\'()/\\|"?#&=+,;@[]{}^`<é日𝄞ﬀß', '\u0301', '\u200d', '🏳️‍🌈']
  const part = fc.oneof(
    fc.string({ unit: fc.constantFrom(...characters), minLength: 1, maxLength: 40 }),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }),
    fc.constantFrom('%2E', '%2e', '..', '>', '$JS', '_INBOX', 'x'.repeat(190), 'in', 'out', '日'.repeat(60)),
  )
  const name = fc
    .array(part, { minLength: 2, maxLength: 4 })
    .map((parts) => parts.join(':').normalize('NFC'))
    .filter((name) => channelNameFault(name) === undefined)

  t.test('there and back, below the prefix, without a wildcard', async (t) => {
    const { out, liveIn, storedIn, captured } = createSubjects('ew')
    fc.assert(
      fc.property(name, (name) => {
        const tokens = channelToSubject(name)
        const whole = [
          [out(name), 'ew.out.'],
          [liveIn(name), 'ew.in.live.'],
          [storedIn('s1-t1', 3, name), captured('s1-t1', 3)],
        ] as const
        return (
          subjectToChannel(tokens) === name &&
          /^[A-Za-z0-9\-_~%.]+$/.test(tokens) &&
          !tokens.split('.').includes('') &&
          tokens.split('.').length === name.split(':').length &&
          whole.every(([subject, prefix]) => subject === prefix + tokens)
        )
      }),
      runs,
    )
    t.pass(`seed ${seed}`)
  })

  t.test('two names never have one subject', async (t) => {
    fc.assert(
      fc.property(
        name,
        name,
        (one, other) => one === other || channelToSubject(one) !== channelToSubject(other),
      ),
      runs,
    )
    t.pass(`seed ${seed}`)
  })

  t.test('what is not the one form of a channel is none', async (t) => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', 'B', '.', '%', '2', 'E', 'e', '4', '0', '*', '>', ' ') }),
        (subject) => {
          const channel = subjectToChannel(subject)
          return (
            channel === undefined || (channelToSubject(channel) === subject && !channelNameFault(channel))
          )
        },
      ),
      runs,
    )
    const none = [
      '',
      'chat',
      'chat.',
      '.chat',
      'a..b',
      'chat.*',
      'chat.>',
      'chat.%2e',
      'chat.%61',
      'chat.a b',
    ]
    for (const subject of [
      ...none,
      'chat.%',
      'chat.%FF',
      'chat.é',
      'chat.e%CC%81',
      'chat.%0A',
      'chat.%2A',
      `chat.${'x'.repeat(300)}`,
    ])
      t.equal(subjectToChannel(subject), undefined, subject)
  })

  t.test('as the documentation shows', async (t) => {
    const examples = rows.filter(([channel, _subject, more]) => channel!.includes(':') && more === undefined)
    t.equal(examples.length, 10)
    for (const [channel, subject] of examples) {
      t.equal(channelToSubject(channel!), subject)
      t.equal(subjectToChannel(subject!), channel)
    }
  })

  t.test('the partition is FNV-1a of 32 bits, which anybody can compute', async (t) => {
    const examples = [
      ['chat:lobby', 8, 1],
      ['chat:a', 8, 6],
      ['ticker:AMP', 8, 3],
      ['order:2026:0042', 8, 7],
      ['chat:café', 8, 7],
      ['chat:日本', 8, 3],
      ['chat:lobby', 1, 0],
      ['chat:lobby', 256, 89],
    ] as const
    for (const [channel, partitions, partition] of examples)
      t.equal(partitionOf(channel, partitions), partition, `${channel} of ${partitions}`)
    // The published test vectors of the hash.
    t.equal(partitionOf('', 2 ** 32), 0x811c9dc5)
    t.equal(partitionOf('a', 2 ** 32), 0xe40c292c)
    t.equal(partitionOf('foobar', 2 ** 32), 0xbf9cf968)
  })
})

t.test('a NATS message is a publication, whoever sent it', async (t) => {
  const read = (data: string | Uint8Array, header?: string) => {
    const hdrs = headers()
    if (header !== undefined) hdrs.set('Everwire', header)
    const bytes = typeof data === 'string' ? Buffer.from(data) : data
    const { message, live } = decodeMessage({ data: bytes, headers: header === undefined ? undefined : hdrs })
    return {
      event: message.event,
      data:
        message.data === undefined ? undefined : Buffer.from(message.data as Uint8Array).toString('latin1'),
      binary: message.binary,
      userId: message.userId,
      except: message.except,
      live,
    }
  }
  const plain = {
    event: 'message',
    data: undefined,
    binary: undefined,
    userId: undefined,
    except: undefined,
    live: undefined,
  }

  t.test('without a header', async (t) => {
    t.strictSame(read('{"a":1}'), { ...plain, data: '{"a":1}' })
    t.strictSame(read(' 12 '), { ...plain, data: ' 12 ' })
    t.strictSame(read(''), plain)
    t.strictSame(read('no json'), { ...plain, data: 'no json', binary: true })
    t.strictSame(read(Uint8Array.of(0x22, 0xff, 0x22)), { ...plain, data: '"ÿ"', binary: true })
    t.strictSame(read(Uint8Array.of(0xef, 0xbb, 0xbf, 0x31)), { ...plain, data: 'ï»¿1', binary: true })
    t.strictSame(read('NaN'), { ...plain, data: 'NaN', binary: true })
  })

  t.test('with a header that is wrong', async (t) => {
    for (const header of [
      '',
      'no json',
      '[]',
      'null',
      '1',
      '{}',
      '{"event":1,"data":2,"userId":{},"except":[],"live":{}}',
    ])
      t.strictSame(read('1', header), { ...plain, data: '1' }, header)
    for (const live of ['["r",1]', '["r",1.5,0]', '["r","1",0]', '[1,1,0]', '["r",1e99,0]', 'null', '"r"'])
      t.strictSame(read('1', `{"live":${live}}`), { ...plain, data: '1' }, live)
    t.equal(read('1', '{"event":""}').event, 'message')
  })

  t.test('with a header that says less than a node says', async (t) => {
    t.strictSame(read('1', '{"event":"price"}'), { ...plain, event: 'price', data: '1' })
    t.strictSame(read('x', '{"event":"e","userId":"u"}'), {
      ...plain,
      event: 'e',
      userId: 'u',
      data: 'x',
      binary: true,
    })
  })

  t.test('JSON that is no UTF-8 stays opaque, even when a node calls it JSON', async (t) => {
    t.match(read(Uint8Array.of(0xff), '{"event":"e","data":"json"}'), { binary: true })
    t.match(read('', '{"data":"binary"}'), { data: '', binary: true })
    t.equal(read('1', '{"data":"none"}').data, undefined)
  })

  t.test('what a node writes comes back, every field of it', async (t) => {
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 })

    const optional = fc.option(text, { nil: undefined })
    const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
    const payload = fc.oneof(
      fc.constant({ data: undefined, binary: undefined }),
      fc.json().map((data) => ({ data, binary: undefined })),
      fc.json().map((data) => ({ data: new Uint8Array(Buffer.from(data)), binary: undefined })),
      fc.uint8Array({ maxLength: 40 }).map((data) => ({ data, binary: true })),
    )
    const live = fc.option(fc.record({ run: text, number, previous: number }, { noNullPrototype: true }), {
      nil: undefined,
    })
    fc.assert(
      fc.property(
        text,
        payload,
        optional,
        optional,
        live,
        (event, { data, binary }, userId, except, live) => {
          const { payload, headers } = encodeMessage({ event, data, binary, userId, except }, 1e6, live)
          const { message, live: numbers } = decodeMessage({ data: payload, headers })
          const { data: back, ...rest } = message
          assert.deepEqual(rest, { event, binary, userId, except })
          assert.deepEqual(numbers, live)
          assert.equal(back === undefined, data === undefined)
          assert.equal(textOf(back), textOf(data))
        },
      ),
      { seed, numRuns: 500 },
    )
    t.pass(`seed ${seed}`)
  })

  t.test('a header crosses the wire, with any text in it', async (t) => {
    const connection = await bare(t)
    const event = 'naïve 日本 "quoted"\r\nInjected: yes'
    const came = new Promise<Msg>((resolve) =>
      connection.subscribe('wire.test', { max: 1, callback: (_error, message) => resolve(message) }),
    )
    const { payload, headers: hdrs } = encodeMessage({ event, data: '1', userId: 'ü' }, 1e6)
    connection.publish('wire.test', payload, { headers: hdrs })
    const message = await came
    t.match(decodeMessage(message).message, { event, userId: 'ü' })
    t.equal(message.headers?.has('Injected'), false)
  })
})

t.test('permissions', async (t) => {
  const prefix = 'ew'
  const size = { size: 20, ttlMs: 600_000 }
  const streams = [0, 1].map((index) => createSubjects(prefix).stream('s20-t600000', index))
  const all = natsPermissions({ prefix })
  const listed = natsPermissions({ prefix, streams })
  const unmanaged = natsPermissions({ prefix, streams, manageStreams: false })

  const user = (name: string, permissions?: { publish: object; subscribe: object }) =>
    `{ user: ${name}, password: ${name}, ${permissions ? permissionsText(permissions as typeof all.node) : ''} }`
  /** The node's permissions without one. */
  const without = (list: 'publish' | 'subscribe', at: number) => ({
    ...listed.node,
    [list]: { allow: listed.node[list].allow.filter((_, index) => index !== at) },
  })
  const lacking = (['publish', 'subscribe'] as const).flatMap((list) =>
    listed.node[list].allow.map((subject, at) => ({ list, at, subject, name: `without_${list}_${at}` })),
  )
  const guarded = await startNats({
    config: `authorization { users: [${[
      user('admin'),
      user('node', all.node),
      user('listed', listed.node),
      user('unmanaged', unmanaged.node),
      user('publisher', listed.publisher),
      user('foreign', listed.foreign),
      ...lacking.map(({ list, at, name }) => user(name, without(list, at))),
    ].join('\n')}] }`,
  })
  t.teardown(() => guarded.stop())
  const as = (name: string, options: NatsOptions = {}): NatsOptions => ({
    servers: guarded.url,
    prefix,
    partitions: 2,
    user: name,
    pass: name,
    connectTimeoutMs: 2_000,
    ...options,
  })

  const works = async (t: Test, options: NatsOptions) => {
    const [one, other] = [await openNode(t, options), await openNode(t, options)]
    for (const node of [one, other]) {
      await node.declare('chat:*', size)
      await node.declare('live:*', undefined)
    }
    const reader = await follow(other, 'chat:a', size)
    for (let i = 0; i < 20; i++)
      await one.store('chat:a', size, { event: 'e', data: String(i) }, { id: `${options.user} ${i}` })
    await one.store('chat:a', size, { event: 'e', data: '19' }, { id: `${options.user} 19` })
    await reader.publication((text) => text === '19', 'the last')
    t.equal((await other.read('chat:a', size, { after: 0, limit: 50 })).publications.length, 20)
    t.equal((await other.read('chat:a', size, { before: 1e9, limit: 3 })).publications.length, 3)
    const listener = await listen(other, 'live:a')
    await one.broadcast('live:a', { event: 'e', data: '1' })
    await listener.heard.atLeast(1, 'publication')
    await Promise.all([one.close(), other.close()])
    const complaints = [...one.log.all, ...other.log.all].filter(({ level }) => level !== 'info')
    t.strictSame(complaints, [])
  }
  const clear = async () => {
    const admin = await connect({ servers: guarded.url, user: 'admin', pass: 'admin' })
    const manager = await jetstreamManager(admin)
    for await (const { config } of manager.streams.list()) await manager.streams.delete(config.name)
    await admin.close()
  }

  t.test('are in the documentation', async (t) => {
    for (const one of Object.values(natsPermissions()))
      t.ok(documentation.includes(permissionsText(one).replaceAll(/^/gm, '    ')), permissionsText(one))
  })
  t.test('are enough for a node that makes its streams', async (t) => {
    await works(t, as('node'))
  })
  t.test('are enough when the streams are listed', async (t) => {
    await clear()
    await works(t, as('listed'))
  })
  t.test('are enough for a node whose streams are there', async (t) => {
    await works(t, as('unmanaged', { manageStreams: false }))
  })

  t.test('each is needed: without it a node refuses to start, and lists them', async (t) => {
    for (const { subject, name } of lacking) {
      // What is missing shows in a new installation; part of it would not where everything is there already.
      await clear()
      const node = createNode(t, as(name))
      const started = async () => {
        await node.open(undefined as never)
        await node.declare('chat:*', size)
      }
      const error = await rejection(started()).catch(() => undefined)
      t.equal(error?.code, 'forbidden', `without ${subject}`)
      t.match(error?.message ?? '', permissionsText(all.node), `without ${subject}: the message has the list`)
      await node.close()
    }
  })

  t.test('of a publisher are enough, and let it read no publication', async (t) => {
    await clear()
    const node = await openNode(t, as('listed'))
    await node.declare('chat:*', size)
    await node.declare('live:*', undefined)
    const reader = await follow(node, 'chat:a', size)
    const listener = await listen(node, 'live:a')
    const publisher = await createPublisher(as('publisher'))
    t.teardown(() => publisher.close())
    t.ok(await publisher.publish('chat:a', 'e', 'stored'))
    await reader.publication((text) => text === '"stored"', 'what was stored')
    t.equal(await publisher.publish('live:a', 'e', 'live'), undefined)
    await listener.heard.first((text) => text === '"live"', 'what was live')

    const inbox = createSubjects(prefix).inbox('publisher')
    const connection = await connect({
      servers: guarded.url,
      user: 'publisher',
      pass: 'publisher',
      inboxPrefix: inbox,
    })
    t.teardown(() => connection.close())
    const manager = await jetstreamManager(connection, { checkAPI: false })
    const stored = rejection(manager.streams.getMessage(streams[0]!, { seq: 1 }))
    t.match((await stored).message, /Permissions Violation/)
    for (const subject of ['ew.out.>', 'ew.node.>', '_INBOX.>'])
      t.strictSame((await refusals(connection, () => connection.subscribe(subject))).length, 1, subject)
  })

  t.test('of a foreign program let it publish, and neither read nor speak as a node', async (t) => {
    await clear()
    const node = await openNode(t, as('listed'))
    await node.declare('chat:*', size)
    const reader = await follow(node, 'chat:a', size)
    const listener = await listen(node, 'live:a')
    const connection = await connect({ servers: guarded.url, user: 'foreign', pass: 'foreign' })
    t.teardown(() => connection.close())

    const heard = new Record<string>()
    connection.subscribe('_INBOX.>', { callback: (_error, { subject }) => heard.push(subject) })
    const { subject } = placeOf(prefix, 'chat:a')
    const ack = await jetstream(connection).publish(subject, '{"text":"hi"}', { msgID: '1' })
    t.equal(ack.stream, streams[partitionOf('chat:a', 2)])
    await reader.publication((text) => text === '{"text":"hi"}', 'the message')
    connection.publish('ew.in.live.live.a', '1')
    await listener.heard.first((text) => text === '1', 'the message')

    for (const subject of [
      'ew.out.chat.a',
      'ew.out.live.a',
      'ew.node.all',
      '$KV.ew.cluster-key',
      '$JS.API.INFO',
    ])
      t.match(await refusals(connection, () => connection.publish(subject, 'x')), [/Publish to/], subject)
    for (const subject of ['>', 'ew.out.>', 'ew.out.chat.a', 'ew.in.>', 'ew.node.>', 'ew.node.inbox.>'])
      t.match(await refusals(connection, () => connection.subscribe(subject)), [/Subscription to/], subject)

    // What NATS answers the nodes is not for it either: the key of the cluster, and history.
    const before = heard.all.length
    await openNode(t, as('listed'))
    await node.read('chat:a', size, { after: 0, limit: 10 })
    await connection.flush()
    t.equal(heard.all.length, before)
  })

  /** Where a foreign program publishes to a channel of that history. */
  function placeOf(prefix: string, channel: string) {
    const subjects = createSubjects(prefix)
    return { subject: subjects.storedIn('s20-t600000', partitionOf(channel, 2), channel) }
  }
})

t.test('what channels keep is agreed on', async (t) => {
  const other = { size: 7, ttlMs: 600_000 }

  t.test('a node that would keep something else is refused, and changes nothing', async (t) => {
    const options = { servers: server.url, prefix: ownPrefix(), partitions: 2 }
    const [first, second] = [await openNode(t, options), await openNode(t, options)]
    await first.declare('chat:*', history)
    await first.declare('live:*', undefined)
    for (const [pattern, wanted, words] of [
      [
        'chat:*',
        other,
        'this node would keep history class s7-t600000, the others were started with history class s50-t600000',
      ],
      [
        'chat:*',
        undefined,
        'this node would keep no history, the others were started with history class s50-t600000',
      ],
      [
        'live:*',
        other,
        'this node would keep history class s7-t600000, the others were started with no history',
      ],
    ] as const) {
      const error = await rejection(second.declare(pattern, wanted))
      t.ok(error instanceof TypeError)
      t.ok(
        error.message.startsWith(`channel ${pattern}: ${words}. Start all with the same history options`),
        error.message,
      )
    }
    await second.declare('chat:*', history)
    await second.declare('live:*', undefined)
    const manager = await jetstreamManager(await bare(t))
    const names = (await manager.streams.names().next()).filter((name) =>
      name.startsWith(`${options.prefix}_`),
    )
    t.strictSame(names.sort(), [`${options.prefix}_s50-t600000_0`, `${options.prefix}_s50-t600000_1`])
  })

  t.test('a node with other partitions uses those that are there', async (t) => {
    const prefix = ownPrefix()
    const first = await openNode(t, { servers: server.url, prefix, partitions: 2 })
    await first.declare('chat:*', history)
    const second = await openNode(t, { servers: server.url, prefix, partitions: 5 })
    await second.declare('chat:*', history)
    const channels = Array.from({ length: 12 }, (_, index) => `chat:${index}`)
    const readers = await Promise.all(channels.map((channel) => follow(first, channel)))
    for (const channel of channels) await second.store(channel, history, { event: 'e', data: `"${channel}"` })
    for (const [index, { publication }] of readers.entries())
      await publication((text) => text === `"chat:${index}"`, 'what the other stored')
    const manager = await jetstreamManager(await bare(t))
    const names = (await manager.streams.names().next()).filter((name) => name.startsWith(`${prefix}_`))
    t.equal(names.length, 2)
  })

  t.test('adoptHistory takes over: nothing is destroyed, and readers elsewhere are told', async (t) => {
    const options = { servers: server.url, prefix: ownPrefix(), partitions: 1 }
    const first = await openNode(t, options)
    await first.declare('chat:*', history)
    await first.store('chat:a', history, { event: 'e', data: '"old"' })
    const reader = await follow(first, 'chat:a')
    const second = await openNode(t, { ...options, adoptHistory: true })
    await second.declare('chat:*', other)
    t.ok(second.log.all.some(({ message }) => message.includes('history options were changed for all nodes')))
    await second.store('chat:a', other, { event: 'e', data: '"new"' })

    const manager = await jetstreamManager(await bare(t))
    const old = await manager.streams.getMessage(`${options.prefix}_s50-t600000_0`, {
      last_by_subj: `${options.prefix}.in.s50-t600000.0.chat.a`,
    })
    t.equal(textOf(old?.data), '"old"')
    await reader.heard.first((one) => one.kind === 'gap' && one.reason === 'epoch', 'a gap (epoch)')
    t.ok(first.log.all.some(({ message }) => message.includes('another node has changed history options')))

    // From here on both nodes mean the same streams.
    await second.store('chat:a', other, { event: 'e', data: '"from the second"' })
    await reader.publication((text) => text === '"from the second"', 'what the second stored')
    const late = await follow(second, 'chat:a', other)
    await first.store('chat:a', history, { event: 'e', data: '"from the first"' })
    await late.publication((text) => text === '"from the first"', 'what the first stored')
    const page = await first.read('chat:a', history, { after: 0, limit: 10 })
    t.strictSame(
      page.publications.map(({ data }) => textOf(data)),
      ['"new"', '"from the second"', '"from the first"'],
    )
  })

  t.test('whether there is history at all changes with a restart only, and is told', async (t) => {
    const options = { servers: server.url, prefix: ownPrefix(), partitions: 1 }
    const first = await openNode(t, options)
    await first.declare('chat:*', undefined)
    const second = await openNode(t, { ...options, adoptHistory: true })
    await second.declare('chat:*', history)
    await first.log.first(({ message }) => message.includes('restart this one'), 'a line in the log')
    t.ok(first.log.all.some(({ level }) => level === 'error'))
  })
})

t.test('an operator makes streams as the documentation says', async (t) => {
  const own = await startNats()
  t.teardown(() => own.stop())
  const [json] = /\{\n[^]*?\n\}/.exec(/```json\n([^]*?)```/.exec(documentation)![1]!)!
  const config = JSON.parse(json) as { name: string }
  const day = { size: 100, ttlMs: 86_400_000 }
  const node = await openNode(t, { servers: own.url })
  await node.declare('chat:*', day)
  const connection = await bare(t, { servers: own.url })
  const manager = await jetstreamManager(connection)
  t.match((await manager.streams.info(config.name)).config, config)
  // The same again, by hand: what the node made is gone, and only partition 1 is there.
  await manager.streams.delete(config.name)
  await manager.streams.add(config)
  const unmanaged = await openNode(t, { servers: own.url, manageStreams: false })
  await unmanaged.declare('chat:*', day)
  const reader = await follow(unmanaged, 'chat:lobby', day)
  await unmanaged.store('chat:lobby', day, { event: 'e', data: '1' })
  await reader.publication((text) => text === '1', 'what was stored')
})

t.test('a publisher that is no node', async (t) => {
  t.test('publishes as the nodes do, also when none runs', async (t) => {
    const options = { servers: server.url, prefix: ownPrefix(), partitions: 2 }
    const early = await rejection(createPublisher(options))
    t.match(early, { code: 'temporary', message: `no node has used the prefix ${options.prefix}` })

    const node = await openNode(t, options)
    await node.declare('chat:*', history)
    await node.declare('chat:live', undefined)
    const publisher = await createPublisher(options)
    t.teardown(() => publisher.close())
    const reader = await follow(node, 'chat:a')
    const listener = await listen(node, 'chat:live')

    const first = await publisher.publish('chat:a', 'message', { text: 'hi' }, { id: 'job 1' })
    const again = await publisher.publish('chat:a', 'message', { text: 'hi' }, { id: 'job 1' })
    t.strictSame(again, first)
    // Recognised in its own channel only.
    const elsewhere = await publisher.publish('chat:b', 'message', { text: 'hi' }, { id: 'job 1' })
    t.ok(elsewhere)
    await publisher.publish('chat:a', 'bytes', Uint8Array.of(1, 255))
    await publisher.publish('chat:a', 'nothing')
    await reader.heard.atLeast(4, 'publication')
    t.match(
      reader.heard.all.map((one) => (one.kind === 'publication' ? one.publication : one.kind)),
      [
        'start',
        { event: 'message', data: Buffer.from('{"text":"hi"}'), offset: first!.offset },
        { event: 'bytes', data: Uint8Array.of(1, 255), binary: true },
        { event: 'nothing', data: undefined },
      ],
    )
    t.equal((reader.heard.all[0] as { position: { epoch: string } }).position.epoch, first!.epoch)

    // The exact rule wins over the pattern.
    t.equal(await publisher.publish('chat:live', 'e', 1), undefined)
    t.strictSame(await listener.heard.atLeast(1, 'publication'), ['1'])

    const at = `${options.prefix}.in.s50-t600000.${partitionOf('chat:a', 2)}.chat.a`
    t.equal(await publisher.subject('chat:a'), at)
    t.equal(await publisher.subject('chat:live'), `${options.prefix}.in.live.chat.live`)
    for (const channel of ['news:a', 'other:x'])
      t.match(await rejection(publisher.publish(channel, 'e')), { code: 'unknown-channel' })
    t.match(await rejection(publisher.publish('no name', 'e')), { code: 'invalid-channel' })
    t.match(await rejection(publisher.subject('news:a')), { code: 'unknown-channel' })

    await node.close()
    const alone = await createPublisher(options)
    t.teardown(() => alone.close())
    const stored = await alone.publish('chat:a', 'message', { text: 'nobody is there' })
    await alone.publish('chat:live', 'e', 2)
    const next = await openNode(t, options)
    const page = await next.read('chat:a', history, { after: stored!.offset - 1, limit: 5 })
    t.equal(textOf(page.publications[0]?.data), '{"text":"nobody is there"}')
  })

  t.test('hears of a rule, and of a change of what is kept, that came after it', async (t) => {
    const options = { servers: server.url, prefix: ownPrefix(), partitions: 1, checkPeriodMs: 1 }
    const node = await openNode(t, { ...options, checkPeriodMs: 2_000 })
    await node.declare('chat:*', history)
    const publisher = await createPublisher(options)
    t.teardown(() => publisher.close())
    t.match(await publisher.subject('chat:a'), 's50-t600000')
    await node.declare('chat:live', undefined)
    t.match(await rejection(publisher.subject('late:a')), { code: 'unknown-channel' })
    await node.declare('late:*', undefined)
    t.match(await publisher.subject('late:a'), /in\.live\.late\.a$/)
    const second = await openNode(t, { servers: server.url, prefix: options.prefix, adoptHistory: true })
    await second.declare('chat:*', { size: 7, ttlMs: 600_000 })
    t.match(await publisher.subject('chat:a'), 's7-t600000')
  })

  t.test('keeps its word when it is closed in the middle', async (t) => {
    const options = { servers: server.url, prefix: ownPrefix(), partitions: 1 }
    const node = await openNode(t, options)
    await node.declare('chat:*', history)
    const publisher = await createPublisher(options)
    const publishing = [1, 2, 3].map((n) => publisher.publish('chat:a', 'e', n))
    await publisher.close()
    await publisher.close()
    t.equal((await Promise.all(publishing)).length, 3)
    t.match(await rejection(publisher.publish('chat:a', 'e')), { code: 'temporary' })
  })

  t.test('is told while NATS is away, and goes on when it is back', async (t) => {
    const own = await startNats()
    t.teardown(() => own.stop())
    const options = { servers: own.url, partitions: 1, publishTimeoutMs: 300 }
    const node = await openNode(t, options)
    await node.declare('chat:*', history)
    await node.declare('live:*', undefined)
    const publisher = await createPublisher(options)
    t.teardown(() => publisher.close())
    await publisher.publish('chat:a', 'e', 1)
    await publisher.publish('live:a', 'e', 1)
    const lost = node.log.first(({ message }) => message.includes('is lost'), 'the loss of the connection')
    await own.servers[0]!.kill()
    await lost
    for (const channel of ['chat:a', 'live:a', 'new:a'])
      t.match(
        await rejection(publisher.publish(channel, 'e', 2)),
        { code: /^(temporary|outcome-unknown)$/ },
        channel,
      )
    t.match(await rejection(publisher.publish('live:a', 'e', 2)), { code: 'temporary' })
    t.match(await rejection(publisher.publish('chat:a', 'e', 2)), { code: 'temporary' })
    await own.servers[0]!.start()
    await node.log.first(({ message }) => message.includes('connected to NATS again'), 'the way back')
    const patient = await createPublisher({ servers: own.url })
    t.teardown(() => patient.close())
    t.ok(await patient.publish('chat:a', 'e', 3))
  })
})

t.test('options', async (t) => {
  t.test('a bad value is refused at once, by its name', async (t) => {
    const bad: [NatsOptions, RegExp][] = [
      [{ partitions: 0 }, /nats: partitions must be a whole number from 1, it is 0/],
      [{ partitions: 2.5 }, /partitions/],
      [{ partitions: 257 }, /partitions must be at most 256/],
      [{ replicas: 6 }, /replicas must be at most 5/],
      [{ storage: 'disk' as 'file' }, /storage must be 'file' or 'memory', it is disk/],
      [{ clusterKey: 'short' }, /clusterKey must have 32 characters/],
      [{ beatMs: 1_000, nodeTimeoutMs: 1_999 }, /nodeTimeoutMs must be at least twice beatMs/],
      [{ prefix: 'a b' }, /prefix/],
      [{ prefix: 'ew.' }, /prefix/],
      [{ prefix: 'ew.*' }, /prefix/],
      [{ prefix: '' }, /prefix/],
      [{ prefix: 'a_b' }, /prefix/],
      [{ servers: [] }, /servers/],
      [{ servers: '' }, /servers/],
      [{ user: 'a', pass: 'a', token: 'b' }, /token/],
      [{ user: 'a' }, /user and pass belong together/],
      [{ partitions: '8' as unknown as number }, /partitions/],
      [{ maxPending: -1 }, /maxPending/],
      [{ publishTimeoutMs: NaN }, /publishTimeoutMs/],
      [{ manageStreams: 'no' as unknown as boolean }, /manageStreams/],
    ]
    for (const [options, message] of bad) {
      t.throws(() => nats(options), { name: 'TypeError', message }, JSON.stringify(options))
      await t.rejects(createPublisher(options), { name: 'TypeError', message }, JSON.stringify(options))
    }
  })

  t.test('are in the documentation, with their defaults', async (t) => {
    const { servers, ...settings } = readNatsOptions({})
    t.match(
      rows.find(([name]) => name === 'servers'),
      ['servers', servers[0]],
    )
    for (const [name, value] of Object.entries(settings))
      if (name !== 'clock')
        t.match(
          rows.find(([first]) => first === name),
          [name, String(value)],
          name,
        )
  })

  const opens = async (t: Test, options: NatsOptions) => {
    const node = await openNode(t, { connectTimeoutMs: 2_000, ...options })
    await node.declare('live:*', undefined)
    const listener = await listen(node, 'live:a')
    await node.broadcast('live:a', { event: 'e', data: '1' })
    await listener.heard.atLeast(1, 'publication')
    return node
  }
  const refused = async (t: Test, options: NatsOptions, message: RegExp) => {
    const started = systemClock.now()
    const error = await rejection(
      createNode(t, { connectTimeoutMs: 2_000, ...options }).open(undefined as never),
    )
    t.ok(error instanceof EverwireError)
    t.match(error, { code: 'temporary', message })
    t.ok(systemClock.now() - started < 5_000)
  }

  t.test('user and password', async (t) => {
    const own = await startNats({ config: 'authorization { user: ann, password: "s3cret" }' })
    t.teardown(() => own.stop())
    await opens(t, { servers: own.url, user: 'ann', pass: 's3cret' })
    await refused(
      t,
      { servers: own.url, user: 'ann', pass: 'wrong' },
      /NATS cannot be reached at .*: .*Authorization/i,
    )
    await refused(t, { servers: own.url }, /Authorization/i)
  })

  t.test('token', async (t) => {
    const own = await startNats({ config: 'authorization { token: "t0ken" }' })
    t.teardown(() => own.stop())
    await opens(t, { servers: own.url, token: 't0ken' })
    await refused(t, { servers: own.url, token: 'wrong' }, /Authorization/i)
  })

  t.test('credentials of an operator', async (t) => {
    const { config, credentials, others } = makeOperator()
    const own = await startNats({ config })
    t.teardown(() => own.stop())
    await opens(t, { servers: own.url, credentials })
    await refused(t, { servers: own.url, credentials: others }, /Authorization/i)
  })

  const openssl = findOpenssl()
  t.test('TLS', { skip: openssl ? false : 'there is no openssl to make a certificate with' }, async (t) => {
    const folder = t.testdir()
    const [key, certificate] = [path.join(folder, 'key.pem'), path.join(folder, 'certificate.pem')]
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
    const made = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', certificate]
    execFileSync(openssl!, ['req', ...made, ...subject], { stdio: 'ignore' })
    const own = await startNats({ config: `tls { cert_file: "${certificate}", key_file: "${key}" }` })
    t.teardown(() => own.stop())
    // By its name: the driver checks no address.
    const servers = own.url.replace('127.0.0.1', 'localhost')
    await opens(t, { servers, tls: { ca: readFileSync(certificate, 'utf8') } })
    await opens(t, { servers: servers.replace('nats:', 'tls:'), tls: { caFile: certificate } })
    await refused(t, { servers, tls: {} }, /certificate|self.signed/i)
  })

  t.test('a connection of the application is used, and left as it was', async (t) => {
    const connection = await bare(t, { name: 'mine' })
    const options = { connection, prefix: ownPrefix(), partitions: 1 }
    const other = await openNode(t, { servers: server.url, prefix: options.prefix })
    const subscriptions = async () => {
      await connection.flush()
      const page = (await server.servers[0]!.monitor('/connz?subs=1')) as {
        connections: { name: string; subscriptions_list?: string[] }[]
      }
      // The driver keeps one for all answers.
      const list = page.connections.find(({ name }) => name === 'mine')?.subscriptions_list ?? []
      return list.filter((subject) => !subject.startsWith('_INBOX')).length
    }
    const node = await opens(t, options)
    await node.declare('chat:*', history)
    await other.declare('chat:*', history)
    const reader = await follow(node, 'chat:a')
    await other.store('chat:a', history, { event: 'e', data: '1' })
    await reader.publication((text) => text === '1', 'what the other stored')
    t.ok((await subscriptions()) > 0)
    await node.close()
    await node.close()
    t.equal(connection.isClosed(), false)
    t.equal(await subscriptions(), 0)
    const publisher = await createPublisher(options)
    t.ok(await publisher.publish('chat:a', 'e', 2))
    await publisher.close()
    t.equal(connection.isClosed(), false)
  })
})

t.test('NATS that cannot be used is said at once, and clearly', async (t) => {
  const told = async (options: NatsOptions, code: string, message: RegExp, withinMs: number) => {
    const node = createNode(t, { connectTimeoutMs: 500, ...options })
    const started = systemClock.now()
    const error = await rejection(node.open(undefined as never))
    const ms = systemClock.now() - started
    t.ok(error instanceof EverwireError)
    t.match(error, { code, message })
    t.ok(ms < withinMs, `${Math.round(ms)} ms`)
    t.match(await rejection(node.broadcast('live:a', { event: 'e' })), { code: 'temporary' })
  }

  t.test('nobody listens there', async () => {
    await told(
      { servers: 'nats://127.0.0.1:1' },
      'temporary',
      /NATS cannot be reached at nats:\/\/127\.0\.0\.1:1: /,
      2_000,
    )
    const publisher = createPublisher({ servers: 'nats://127.0.0.1:1', connectTimeoutMs: 300 })
    t.match(await rejection(publisher), { code: 'temporary', message: /NATS cannot be reached/ })
  })

  t.test('somebody listens there and says nothing', async (t) => {
    const sockets = new Set<Socket>()
    const silent = createServer((socket) => sockets.add(socket.on('error', () => {}))).listen(0, '127.0.0.1')
    await new Promise((resolve) => silent.once('listening', resolve))
    t.teardown(
      () =>
        new Promise<void>((resolve) => {
          for (const socket of sockets) socket.destroy()
          silent.close(() => resolve())
        }),
    )
    const { port } = silent.address() as AddressInfo
    await told({ servers: `nats://127.0.0.1:${port}` }, 'temporary', /NATS cannot be reached/, 3_000)
  })

  t.test('there is no JetStream', async (t) => {
    const own = await startNats({ config: 'accounts { A: { users: [{ user: a, password: a }] } }' })
    t.teardown(() => own.stop())
    const options = { servers: own.url, user: 'a', pass: 'a' }
    await told(
      options,
      'temporary',
      /JetStream cannot be used at .* Is it enabled \(nats-server -js\)\?/,
      3_000,
    )
    t.match(await rejection(createPublisher(options)), {
      code: 'temporary',
      message: /JetStream cannot be used/,
    })
  })

  t.test('the streams are not there, and may not be made', async () => {
    const options = { servers: server.url, prefix: ownPrefix(), manageStreams: false }
    await told(
      options,
      'temporary',
      /With manageStreams: false the streams and the bucket must be there/,
      2_000,
    )
  })

  t.test('the user may do nothing', async (t) => {
    const nothing = 'permissions { publish { deny: ">" }, subscribe { deny: ">" } }'
    const own = await startNats({ config: `authorization { users: [{ user: a, password: a, ${nothing} }] }` })
    t.teardown(() => own.stop())
    const options = { servers: own.url, user: 'a', pass: 'a' }
    await told(
      options,
      'forbidden',
      /A node needs\npermissions \{\n {2}publish \{ allow: \["ew\.in\.>"/,
      2_000,
    )
  })
})

t.test('nodes among themselves', async (t) => {
  const clusterKey = 'k'.repeat(32)

  /** A node's part of the mesh alone. */
  const join = async (t: Test, nodeId: string, prefix: string, key = clusterKey) => {
    const settings = readNatsOptions({ servers: server.url, prefix })
    const subjects = createSubjects(prefix)
    const identity = { name: nodeId, inbox: subjects.inbox('node') }
    const connection = await Connection.open(settings, identity, {
      log() {},
      reconnected() {},
      disconnected() {},
    })
    const [refused, missed] = [new Record<string>(), new Record<string>()]
    const mesh = new Mesh({
      nodeId,
      connection,
      subjects,
      clusterKey: key,
      clock: systemClock,
      beatMs: 100,
      nodeTimeoutMs: 400,
      refused: (reason) => refused.push(reason),
      missed: (node) => missed.push(node),
      lost: () => {},
      hearing: () => {},
      met: () => {},
    })
    t.teardown(() => {
      mesh.stop()
      return connection.close()
    })
    mesh.handle('barrier', () => nodeId)
    mesh.handle('echo', (body, from) => ({ body, from }))
    await mesh.start()
    return { mesh, refused, missed, connection, subjects }
  }
  /** Resolves once each knows the others. */
  const acquainted = async (meshes: readonly Mesh[]) => {
    const deadline = systemClock.now() + 10_000
    while (meshes.some((mesh) => mesh.peers.length < meshes.length - 1)) {
      if (systemClock.now() > deadline) throw new Error('the nodes do not know each other')
      await Promise.all(meshes.map((mesh) => mesh.barrier()))
    }
  }

  t.test('three ask each other, and all', async (t) => {
    const prefix = ownPrefix()
    const [a, b, c] = [await join(t, 'a', prefix), await join(t, 'b', prefix), await join(t, 'c', prefix)]
    await acquainted([a.mesh, b.mesh, c.mesh])
    t.strictSame([...a.mesh.peers].sort(), ['b', 'c'])
    t.strictSame(
      new Map([...(await a.mesh.barrier())].sort()),
      new Map([
        ['b', 'b'],
        ['c', 'c'],
      ]),
    )
    const [one, other] = [a.mesh.barrier(), a.mesh.barrier()]
    t.equal(await one, await other, 'one round for those who ask in one turn')
    t.strictSame(await a.mesh.request('c', 'echo', { x: [1] }, 2_000), { body: { x: [1] }, from: 'a' })
    const many = await Promise.all([1, 2, 3, 4].map((n) => c.mesh.request('b', 'echo', n, 2_000)))
    t.strictSame(
      many,
      [1, 2, 3, 4].map((body) => ({ body, from: 'c' })),
    )
    t.match(await rejection(a.mesh.request('b', 'unknown', null, 100)), { code: 'temporary' })
    t.match(await rejection(a.mesh.request('nobody', 'echo', null, 100)), { code: 'temporary' })
    b.mesh.stop()
    await a.mesh.request('c', 'echo', null, 2_000)
    t.strictSame(a.mesh.peers, ['c'], 'a goodbye is heard at once')
    t.strictSame([a.refused.all, b.refused.all, c.refused.all], [[], [], []])
  })

  t.test(
    'one that is connected anew is asked what it said: with its server the last may be lost',
    async (t) => {
      const prefix = ownPrefix()
      const [a, b] = [await join(t, 'a', prefix), await join(t, 'b', prefix)]
      await acquainted([a.mesh, b.mesh])
      t.strictSame(a.missed.all, [], 'one that has just begun has said nothing')
      b.mesh.reconnected()
      await a.missed.first(() => true, 'asked')
      // Also one that counted as gone meanwhile.
      b.mesh.stop()
      await b.connection.flush()
      await a.mesh.barrier()
      t.strictSame(a.mesh.peers, [])
      b.mesh.reconnected()
      await a.missed.first(() => a.missed.all.length > 1, 'asked again')
      t.strictSame(a.missed.all, ['b', 'b'])
    },
  )

  t.test('one that dies is waited for no longer than its time, and then forgotten', async (t) => {
    const prefix = ownPrefix()
    const [a, b, c] = [await join(t, 'a', prefix), await join(t, 'b', prefix), await join(t, 'c', prefix)]
    await acquainted([a.mesh, b.mesh, c.mesh])
    // As a process does that is killed: no goodbye.
    await b.connection.close()
    const started = systemClock.now()
    t.strictSame([...(await a.mesh.barrier()).keys()], ['c'])
    t.ok(systemClock.now() - started < 5_000)
    t.strictSame(a.mesh.peers, ['c'])
    const again = await join(t, 'b2', prefix)
    await acquainted([a.mesh, c.mesh, again.mesh])
    t.strictSame([...a.mesh.peers].sort(), ['b2', 'c'])
  })

  t.test('what is not signed, signed for something else, or said before changes nothing', async (t) => {
    const prefix = ownPrefix()
    const [a, b] = [await join(t, 'a', prefix), await join(t, 'b', prefix)]
    await acquainted([a.mesh, b.mesh])
    const { subjects } = a
    const stranger = await bare(t)
    const said = new Record<Msg>()
    stranger.subscribe(`${prefix}.node.>`, { callback: (_error, message) => said.push(message) })
    await stranger.flush()

    const bye = JSON.stringify({ from: 'b', number: 999_999, kind: 'bye', body: null })
    const refusedNow = async (words: RegExp, act: () => void) => {
      const before = a.refused.all.length
      act()
      await a.refused.atLeast(before + 1, 'refusal')
      t.match(a.refused.all[before], words)
      t.strictSame(a.mesh.peers, ['b'])
    }
    await refusedNow(/not signed/, () => stranger.publish(subjects.node('all'), bye))
    await refusedNow(/not signed/, () => stranger.publish(subjects.node('one.a'), 'no json'))
    const forged = headers()
    forged.set('Everwire-Signature', 'x'.repeat(43))
    await refusedNow(/not signed/, () => stranger.publish(subjects.node('all'), bye, { headers: forged }))

    const beat = await said.first(
      ({ subject, data }) =>
        subject.endsWith('.all') && textOf(data).includes('"from":"b"') && textOf(data).includes('"beat"'),
      'a beat of b',
    )
    await refusedNow(/said before/, () =>
      stranger.publish(subjects.node('all'), beat.data, { headers: beat.headers! }),
    )
    // The same words for another ear, and with somewhere to answer to.
    await refusedNow(/not signed/, () =>
      stranger.publish(subjects.node('one.a'), beat.data, { headers: beat.headers! }),
    )
    await refusedNow(/not signed/, () =>
      stranger.publish(subjects.node('all'), beat.data, { headers: beat.headers!, reply: 'elsewhere' }),
    )

    // Answers too: a stranger sees the question, and is quicker.
    stranger.subscribe(subjects.node('one.c'), {
      callback: (_error, message) =>
        void message.respond(JSON.stringify({ from: 'c', number: 1, kind: 'answer', body: 'mine' })),
    })
    await stranger.flush()
    await refusedNow(/not signed/, () => void a.mesh.request('c', 'echo', null, 300).catch(() => {}))
    t.match(await rejection(a.mesh.request('c', 'echo', null, 300)), { code: 'temporary' })

    // A node with another key is none.
    const outsider = await join(t, 'x', prefix, 'x'.repeat(32))
    await a.refused.first((reason) => reason.includes('not signed'), 'a refusal')
    t.strictSame(outsider.mesh.peers, [])
    t.strictSame(a.mesh.peers, ['b'])
    t.strictSame(await a.mesh.request('b', 'echo', 1, 2_000), { body: 1, from: 'a' })
  })

  t.test('a stranger on the subjects of nodes changes nothing for readers', async (t) => {
    const prefix = ownPrefix()
    const node = await openNode(t, { servers: server.url, prefix, partitions: 1 })
    await node.declare('chat:*', history)
    const reader = await follow(node, 'chat:a')
    const listener = await listen(node, 'live:a')
    const stranger = await bare(t)
    const faked = headers()
    faked.set('Nats-Stream', `${prefix}_s50-t600000_0`)
    faked.set('Nats-Sequence', '5')
    faked.set('Nats-Last-Sequence', '0')
    stranger.publish(`${prefix}.out.chat.a`, '"faked"', { headers: faked })
    stranger.publish(`${prefix}.out.chat.a`, '"plain"')
    stranger.publish(`${prefix}.out.live.a`, '"plain"')
    stranger.publish(`${prefix}.node.all`, '{"from":"x","number":1,"kind":"hint","body":{}}')
    await stranger.flush()
    await node.store('chat:a', history, { event: 'e', data: '"true"' })
    await node.broadcast('live:a', { event: 'e', data: '"true"' })
    await reader.publication((text) => text === '"true"', 'what was stored')
    await listener.heard.atLeast(1, 'publication')
    t.strictSame(
      reader.heard.all.map((one) => (one.kind === 'publication' ? textOf(one.publication.data) : one.kind)),
      ['start', '"true"'],
    )
    t.strictSame(listener.heard.all, ['"true"'])
    await node.log.first(({ message }) => message.includes('not signed'), 'a line in the log')
  })
})

function findOpenssl(): string | undefined {
  const program = process.env.OPENSSL_PATH || 'openssl'
  try {
    execFileSync(program, ['version'], { stdio: 'ignore' })
    return program
  } catch {
    return undefined
  }
}

/** What `nsc` makes: an operator, an account with JetStream, and the credentials of a user of it. */
function makeOperator() {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const sign = (issuer: nkeys.KeyPair, subject: string, name: string, claims: object) => {
    const body = {
      jti: name,
      iat: 1_700_000_000,
      iss: issuer.getPublicKey(),
      name,
      sub: subject,
      nats: { ...claims, version: 2 },
    }
    const text = `${encode({ typ: 'JWT', alg: 'ed25519-nkey' })}.${encode(body)}`
    return `${text}.${Buffer.from(issuer.sign(Buffer.from(text))).toString('base64url')}`
  }
  const [operator, system, account, stranger] = [
    nkeys.createOperator(),
    ...[1, 2, 3].map(() => nkeys.createAccount()),
  ] as [nkeys.KeyPair, nkeys.KeyPair, nkeys.KeyPair, nkeys.KeyPair]
  const none = { subs: -1, data: -1, payload: -1 }
  const limits = { ...none, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 }
  const jetStream = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }
  const accountOf = (keys: nkeys.KeyPair, name: string, more = {}) =>
    sign(operator, keys.getPublicKey(), name, {
      type: 'account',
      limits: { ...limits, ...more },
      default_permissions: { pub: {}, sub: {} },
    })
  const credentialsOf = (issuer: nkeys.KeyPair) => {
    const user = nkeys.createUser()
    const token = sign(issuer, user.getPublicKey(), 'user', { type: 'user', pub: {}, sub: {}, ...none })
    const seed = Buffer.from(user.getSeed()).toString()
    const block = (title: string, text: string, dashes: string) =>
      `-----BEGIN ${title}-----\n${text}\n${dashes}END ${title}${dashes}\n`
    return block('NATS USER JWT', token, '------') + block('USER NKEY SEED', seed, '------')
  }
  return {
    config: `operator: ${sign(operator, operator.getPublicKey(), 'operator', { type: 'operator' })}
system_account: ${system.getPublicKey()}
resolver: MEMORY
resolver_preload: {
  ${system.getPublicKey()}: ${accountOf(system, 'system')}
  ${account.getPublicKey()}: ${accountOf(account, 'account', jetStream)}
}`,
    credentials: credentialsOf(account),
    others: credentialsOf(stranger),
  }
}
