import {
  defineContract,
  EverwireError,
  type,
  type Contract,
  type SchemaIssue,
  type StandardSchema,
} from '@everwire/core'
import type { FakeClock } from '@everwire/testkit'
import t, { type Test } from 'tap'
import type { EverwireOptions } from '../src/index.js'
import { startNode } from './memory-transport.js'

/** A schema made of one function. */
const schema = (check: (value: unknown) => unknown): StandardSchema => ({
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) => {
      const read = (made: unknown) => (made instanceof Refusal ? { issues: made.issues } : { value: made })
      const made = check(value)
      return made instanceof Promise ? made.then(read) : read(made)
    },
  },
})
class Refusal {
  readonly issues: readonly SchemaIssue[]
  constructor(...issues: SchemaIssue[]) {
    this.issues = issues
  }
}
const text = schema((value) =>
  typeof (value as { text?: unknown } | null)?.text === 'string'
    ? value
    : new Refusal({ message: 'must be text', path: ['text'] }),
)

const start = async (t: Test, contract: Contract, options: Partial<EverwireOptions> = {}) => {
  const node = await startNode(t, { contract, serverKeys: [key], ...options })
  node.app.everwire.channel('chat:*', { history: {}, subscribe: true, publish: true })
  node.app.everwire.channel('free:*', { subscribe: true, publish: true })
  return node
}
/** What is sent is written in the next turn, and read in the one after. */
const written = async (clock: FakeClock) => {
  await clock.settle()
  await clock.settle()
}
const key = 'k'.repeat(32)
const raw = (data: string | Uint8Array | undefined) =>
  data instanceof Uint8Array ? new TextDecoder().decode(data) : data

t.test('a publication that its schema refuses is told why, and is not published', async (t) => {
  const { app, clock, connect } = await start(t, { channels: { 'chat:*': { message: text } } })
  const peer = await connect({ token: 'ann' })
  await peer.ask(['sub', 'chat:1'])
  await peer.ask(['sub', 'free:1'])
  const reason = 'message in chat:1: text: must be text (bad-payload)'
  for (const payload of ['{"text":1}', 'null', '[]'])
    t.strictSame((await peer.ask(['pub', 'chat:1', 'message', 'i'], payload)).header.slice(2), [
      'bad-payload',
      reason,
    ])
  for (const event of ['mesage', '__proto__', 'constructor'])
    t.match((await peer.ask(['pub', 'chat:1', event, 'i'], '{"text":"x"}')).header, [
      'err',
      Number,
      'bad-payload',
      `no event "${event}"`,
    ])
  await t.rejects(app.everwire.publish('chat:1', 'message', { text: 1 }), {
    code: 'bad-payload',
    message: reason,
  })
  await t.rejects(app.everwire.publish('chat:1', 'other', { text: 'x' }), { code: 'bad-payload' })
  for (const authorization of ['Bearer ann', `Bearer ${key}`]) {
    const answer = await app.inject({
      method: 'POST',
      url: '/everwire/channels/chat:1?event=message',
      headers: { authorization, 'content-type': 'application/json' },
      payload: '{"text":1}',
    })
    t.match(answer.json(), { code: 'bad-payload', message: reason })
  }
  await written(clock)
  t.strictSame(peer.seen, [], 'none of it')
  // What the contract does not speak of passes.
  await peer.ask(['pub', 'free:1', 'any', 'i'], '{"text":1}')
  await app.everwire.publish('free:1', 'other', 1)
  await written(clock)
  t.strictSame(peer.seen, [
    ['any', { text: 1 }],
    ['other', 1],
  ])
})

t.test('exact names win over patterns, and longer patterns over shorter', async (t) => {
  const only = (word: string) => ({
    e: schema((value) => (value === word ? value : new Refusal({ message: word }))),
  })
  const { connect } = await start(t, {
    channels: { 'chat:*': only('short'), 'chat:vip:*': only('long'), 'chat:vip:1': only('exact') },
  })
  const peer = await connect()
  for (const [channel, word] of [
    ['chat:1', 'short'],
    ['chat:vip:2', 'long'],
    ['chat:vip:1', 'exact'],
  ])
    for (const given of ['short', 'long', 'exact']) {
      const answer = await peer.ask(['pub', channel, 'e', `${channel}${given}`], JSON.stringify(given))
      t.equal(answer.header[0], given === word ? 'ack' : 'err')
    }
})

t.test('what the schema makes is published, once; what it leaves alone keeps its bytes', async (t) => {
  let calls = 0
  const { app, clock, connect } = await start(t, {
    channels: {
      'chat:*': {
        same: text,
        copied: schema((value) => structuredClone(value)),
        counted: schema((value) => ({ ...(value as object), n: ++calls })),
        changed: schema((value) => Object.assign(value as object, { more: true })),
        bytes: schema((value) =>
          value instanceof Uint8Array ? value.length : new Refusal({ message: 'no bytes' }),
        ),
        none: schema(() => undefined),
        large: schema(() => 'x'.repeat(70_000)),
      },
      '@me': { note: schema(String) },
    },
  })
  const peer = await connect({ token: 'ann' })
  await peer.ask(['sub', 'chat:1'])
  await peer.ask(['sub', '@me'])
  const odd = '{ "text" : "h\\u0069", "n" : 1.0 }'
  const publish = async (event: string, payload: string | Uint8Array) => {
    const { header } = await peer.ask(['pub', 'chat:1', event, event], payload)
    const frame = peer.frames.at(-1)
    return header[0] === 'ack' ? (frame?.data === undefined ? undefined : raw(frame.data)) : header[3]
  }
  t.equal(await publish('same', odd), odd)
  t.equal(await publish('copied', odd), odd)
  t.strictSame(JSON.parse((await publish('counted', '{"a":1}')) as string), { a: 1, n: 1 })
  t.strictSame(JSON.parse((await publish('changed', '{"a":1}')) as string), { a: 1, more: true })
  t.equal(await publish('bytes', new Uint8Array(5)), '5')
  t.equal(await publish('bytes', '5'), 'bytes in chat:1: no bytes (bad-payload)')
  t.equal(await publish('none', '5'), undefined)
  t.match(await publish('large', '5'), /70002 bytes are too many/)
  await app.everwire.publish('chat:1', 'counted', { b: 1 })
  await app.everwire.publishToUser('ann', 'note', 7)
  await written(clock)
  t.strictSame(peer.seen.slice(-2), [
    ['counted', { b: 1, n: 2 }],
    ['note', '7'],
  ])
  const answer = await app.inject({
    method: 'POST',
    url: '/everwire/users/ann?event=note',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    payload: '8',
  })
  t.equal(answer.statusCode, 202)
  await written(clock)
  t.strictSame(peer.seen.at(-1), ['note', '8'])
})

t.test('the hook sees what the schema made, and need not look at what it refused', async (t) => {
  const attempts: unknown[] = []
  let asked = 0
  const { app, connect } = await start(t, {
    channels: {
      'room:*': { e: schema((value) => (value === 1 ? 'one' : new Refusal({ message: 'no' }))) },
      'closed:*': { e: schema(() => asked++) },
    },
  })
  app.everwire.channel('room:*', { publish: (_session, _channel, attempt) => attempts.push(attempt) > 0 })
  app.everwire.channel('closed:*', { subscribe: true })
  const peer = await connect()
  await peer.ask(['pub', 'room:1', 'e', 'a'], '1')
  await peer.ask(['pub', 'room:1', 'e', 'b'], '2')
  t.strictSame(attempts, [{ event: 'e', data: 'one' }])
  t.match((await peer.ask(['pub', 'closed:1', 'e', 'c'], '1')).header, ['err', Number, 'forbidden'])
  t.equal(asked, 0, 'where nobody may publish nothing is checked')
})

t.test('slow schemas keep the order in their channel, and hold up no other', async (t) => {
  const held: (() => void)[] = []
  const slow = schema((value) => new Promise((resolve) => held.push(() => resolve(value))))
  const quick = schema((value) => value)
  const { app, clock, connect } = await start(t, {
    channels: { 'chat:*': { slow, quick, bad: schema(() => Promise.reject(new Error('secret detail'))) } },
  })
  const peer = await connect()
  await peer.ask(['sub', 'chat:1'])
  await peer.ask(['sub', 'chat:2'])
  peer.send(['pub', 'chat:1', 'slow', 'a'], '1')
  peer.send(['pub', 'chat:1', 'quick', 'b'], '2')
  await peer.ask(['pub', 'chat:2', 'quick', 'c'], '3')
  t.strictSame(peer.seen, [['quick', 3]])
  held.shift()!()
  await written(clock)
  t.strictSame(peer.seen.slice(1), [
    ['slow', 1],
    ['quick', 2],
  ])

  // The same for the server's own, whose validation starts at the call.
  const publish = app.everwire.publish
  const calls = [
    publish('chat:1', 'slow', 4),
    publish('chat:1', 'bad', 5),
    publish('chat:1', 'slow', 6),
    publish('chat:1', 'quick', 7),
  ]
  await publish('chat:2', 'quick', 8)
  const settled = Promise.allSettled(calls)
  await written(clock)
  held.pop()!()
  await written(clock)
  t.strictSame(peer.seen.slice(3), [['quick', 8]])
  held.pop()!()
  const ends = await settled
  await written(clock)
  t.match(
    ends.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  )
  t.strictSame(
    peer.seen.slice(4).map(([, value]) => value),
    [4, 6, 7],
  )
})

t.test('methods get what their schema makes, and answer what theirs allows', async (t) => {
  const { app, connect, logs } = await start(t, {
    methods: {
      double: {
        input: schema((value) => (typeof value === 'number' ? value : new Refusal({ message: 'no number' }))),
      },
      lying: { output: schema(() => new Refusal({ message: 'secret detail' })) },
      made: { input: schema((value) => Promise.resolve([value])), output: schema(JSON.stringify) },
      broken: {
        input: schema(() => {
          throw new Error('secret detail')
        }),
      },
      picky: {
        input: schema(() => {
          throw new EverwireError('app:picky')
        }),
      },
    },
  })
  let calls = 0
  for (const name of ['double', 'lying', 'made', 'broken', 'picky', 'free'])
    app.everwire.method(name, (_session, input) => {
      calls++
      return name === 'double' ? (input as number) * 2 : input
    })
  const peer = await connect()
  const ask = async (name: string, input: string) => {
    const { header, data } = await peer.ask(['req', name], input)
    return header[0] === 'reply' ? JSON.parse(raw(data)!) : header.slice(2)
  }
  t.equal(await ask('double', '4'), 8)
  t.strictSame(await ask('double', '"4"'), ['bad-payload', 'the input of double: no number (bad-payload)'])
  t.equal(calls, 1, 'the method was not called')
  t.equal(await ask('made', '1'), '[1]')
  t.equal(await ask('free', '1'), 1)
  t.match(await ask('picky', '1'), ['app:picky'])
  const before = logs.length
  t.strictSame(await ask('lying', '1'), ['internal', 'the server failed'])
  t.strictSame(await ask('broken', '1'), ['internal', 'the server failed'])
  t.equal(logs.slice(before).filter(({ msg }) => msg === 'everwire: operation failed').length, 2)
})

t.test('what a client answers is checked too', async (t) => {
  const number = schema((value) =>
    typeof value === 'number' ? value : new Refusal({ message: 'no number' }),
  )
  const { app, clock, connect } = await start(t, {
    clientMethods: { count: { input: schema(async (value) => [value]), output: number } },
  })
  const peer = await connect()
  const [session] = app.everwire.sessions()
  for (const [answer, expected] of [
    ['3', 3],
    ['"3"', 'bad-payload'],
  ] as const) {
    const asked = session!.request('count', 1).catch(({ code }: EverwireError) => code)
    await written(clock)
    const { header, data } = peer.frames.at(-1)!
    t.strictSame([header[0], header[1], raw(data)], ['req', 'count', '[1]'])
    peer.send(['reply', peer.frames.length], answer)
    t.equal(await asked, expected)
  }
})

t.test('a reason is bounded, whatever the schema says', async (t) => {
  const issues: SchemaIssue[] = Array.from({ length: 50 }, (_, i) => ({
    message: 'm'.repeat(i === 0 ? 90 : 10_000),
    path: [{ key: 'a' }, 0, Symbol('b')],
  }))
  const { connect } = await start(t, { channels: { 'chat:*': { e: schema(() => new Refusal(...issues)) } } })
  const { header } = await (await connect()).ask(['pub', 'chat:1', 'e', 'i'], '1')
  t.match(header[3], /^e in chat:1: a\.0\.Symbol\(b\): m{90}; a\.0/)
  t.equal((header[3] as string).length <= 320, true)
})

t.test('a contract that cannot work is refused at once', async (t) => {
  for (const [contract, message] of [
    [{ channels: { 'a*:b': {} } }, /a\*:b: a \* may stand at the end only/],
    [{ channels: { 'a:*': { gap: type() } } }, /gap is no event's name/],
    [{ channels: { 'a:*': { e: {} } } }, /a:\* e is no Standard Schema/],
    [{ channels: { 'a:*': { e: null } } }, /a:\* e is no Standard Schema/],
    [{ methods: { m: { input: () => true } } }, /m is no Standard Schema/],
    [{ clientMethods: { c: { output: 1 } } }, /c is no Standard Schema/],
  ] as const)
    await t.rejects(startNode(t, { contract: contract as never }), { name: 'TypeError', message })
})

t.test('types that check nothing let everything of their channel pass', async (t) => {
  const { connect } = await start(t, defineContract({ channels: { 'chat:*': { e: type<number>() } } }))
  const peer = await connect()
  t.equal((await peer.ask(['pub', 'chat:1', 'e', 'i'], '"any"')).header[0], 'ack')
})

t.test('a schema that does not answer is timeout, and its channel goes on', async (t) => {
  const held: (() => void)[] = []
  let letAsk = () => {}
  const allAsked = new Promise<void>((resolve) => (letAsk = resolve))
  const slow = schema(
    (value) =>
      new Promise((resolve) => {
        if (held.push(() => resolve(value)) === 4) letAsk()
      }),
  )
  const { app, clock, connect } = await start(
    t,
    { channels: { 'chat:*': { slow, quick: type() } }, clientMethods: { count: { input: slow } } },
    { requestTimeoutMs: 3_000 },
  )
  const peer = await connect({ token: 'ann' })
  await peer.ask(['sub', 'chat:1'])
  const told = () =>
    peer.frames.filter(({ header: [kind] }) => kind !== 'm').map(({ header: [kind, , code] }) => [kind, code])
  peer.send(['pub', 'chat:1', 'slow', 'a'], '1')
  peer.send(['pub', 'chat:1', 'quick', 'b'], '2')
  const published = [app.everwire.publish('chat:1', 'slow', 3), app.everwire.publish('chat:1', 'quick', 4)]
  const posted = app.inject({
    method: 'POST',
    url: '/everwire/channels/chat:1?event=slow',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    payload: '5',
  })
  const asked = app.everwire.sessions()[0]!.request('count', 6)
  const ends = Promise.allSettled([...published, posted, asked])
  await allAsked
  await clock.advance(2_999)
  t.strictSame([told(), peer.seen], [[], []])
  await clock.advance(1)
  await written(clock)
  t.match(told()[0], ['err', 'timeout'])
  t.match(await ends, [
    { status: 'rejected', reason: { code: 'timeout', message: /the schema of slow in chat:1 took longer/ } },
    { status: 'fulfilled' },
    { status: 'fulfilled', value: { statusCode: 504, headers: { 'retry-after': String } } },
    { status: 'rejected', reason: { code: 'timeout' } },
  ])
  const values = () => peer.seen.map(([, value]) => value).sort()
  t.strictSame(values(), [2, 4], 'what waited behind them is published')
  for (const answer of held) answer()
  await written(clock)
  t.equal((await peer.ask(['pub', 'chat:1', 'quick', 'c'], '7')).header[0], 'ack')
  t.strictSame(values(), [2, 4, 7], 'what is answered late is not')
  peer.send(['pub', 'chat:1', 'slow', 'd', 1], '8')
  await clock.advance(3_000)
  await written(clock)
  t.match(told().at(-1), ['err', 'outcome-unknown'], 'a repetition: the first may have been stored')
})

t.test(
  'JSON that is nested too deeply is bad-payload, whoever trips over it, and no failure of ours',
  async (t) => {
    const depth = (value: unknown): number => (Array.isArray(value) ? 1 + depth(value[0]) : 0)
    const walk = schema((value) => depth(value) > 0 && value)
    const { app, connect, logs } = await start(t, {
      channels: {
        'chat:*': {
          same: type(),
          walk,
          later: schema(async (value) => depth(value)),
          broken: schema(() => {
            throw new RangeError('secret detail')
          }),
        },
      },
      methods: { ask: { input: walk } },
    })
    app.everwire.method('ask', () => 'never')
    const peer = await connect({ token: 'ann' })
    const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
    const failures = () => logs.filter(({ level }) => level >= 50).length
    for (const event of ['same', 'walk', 'later'])
      t.match((await peer.ask(['pub', 'chat:1', event, event], nested(30_000))).header.slice(2), [
        'bad-payload',
        `${event} in chat:1 is nested too deeply`,
      ])
    t.match((await peer.ask(['req', 'ask'], nested(30_000))).header.slice(2), ['bad-payload'])
    const answer = await app.inject({
      method: 'POST',
      url: '/everwire/channels/chat:1?event=same',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      payload: nested(30_000),
    })
    t.match([answer.statusCode, answer.json()], [400, { code: 'bad-payload' }])
    t.equal(failures(), 0)
    for (const event of ['same', 'walk', 'later'])
      t.equal((await peer.ask(['pub', 'chat:1', event, `${event}2`], nested(400))).header[0], 'ack')
    t.match((await peer.ask(['pub', 'chat:1', 'broken', 'x'], nested(400))).header.slice(2), ['internal'])
    t.equal(failures(), 1, 'a fault of the schema is in the log')
    const ring: unknown[] = []
    ring.push(ring)
    await t.rejects(app.everwire.publish('chat:1', 'walk', ring), { code: 'bad-payload' })
  },
)
