import { encodeFrame, EverwireError, recoveryOf, type Frame } from '@everwire/core'
import { createLinkPair } from '@everwire/testkit'
import t, { type Test } from 'tap'
import type { Negotiate, NegotiationAsk } from '../src/index.js'
import { startNode, type Node } from './memory-transport.js'

const all = ['memory', 'sse', 'poll']
const start = (test: Test, negotiate?: Negotiate) => startNode(test, { negotiate }, all.slice(1))
const post = async ({ app }: Node, body: object) => {
  const answer = await app.inject({ method: 'POST', url: '/everwire/session', payload: { v: 1, ...body } })
  return { status: answer.statusCode, text: answer.body }
}

/** A link on which the test says every word, and what came back on it. */
async function probe({ accept, clock }: Node, frames: Frame['header'][], request: unknown = {}) {
  const pair = createLinkPair({ transport: 'memory' })
  const heard: Frame['header'][] = []
  pair.server.listen(accept(pair.server, { request }))
  pair.client.listen({ receive: ({ header }) => heard.push(header), drained() {}, closed() {} })
  pair.client.send(frames.map((frame) => encodeFrame(frame)))
  await clock.settle()
  return { heard, over: pair.client.over }
}
/** A hook that answers when it is told to. */
function held<Answer>() {
  let answer: (answer: Answer) => void = () => {}
  const promise = new Promise<Answer>((resolve) => (answer = resolve))
  return { hook: () => promise, answer: (given: Answer) => answer(given) }
}
const hello: Frame['header'][] = [
  ['hello', { v: 1, nonce: 'n' }],
  ['ping', 0],
]
const attach: Frame['header'] = ['attach', { v: 1, gen: 1, place: 'p', poll: 0, cursor: 0, acked: 0 }]

t.test('without the hook everything is offered, in no order', async (t) => {
  const node = await start(t)
  const expected = all.map((name) => ({ name, offered: true, reason: 'enabled' }))
  t.same(JSON.parse((await post(node, {})).text).transports, expected)
  t.match((await node.connect()).others[0]?.header[1], { transports: expected })
})

t.test('what the hook names comes in its order; the rest is offered without a rank', async (t) => {
  const asked: NegotiationAsk[] = []
  const node = await start(t, async (ask) => {
    asked.push(ask)
    return [
      { name: 'poll', offered: true, reason: 'cheap' },
      { name: 'sse', offered: false, reason: 'not here' },
    ]
  })
  const expected = [
    { name: 'memory', offered: true, reason: 'enabled' },
    { name: 'sse', offered: false, reason: 'not here' },
    { name: 'poll', offered: true, reason: 'cheap', rank: 0 },
  ]
  t.strictSame(JSON.parse((await post(node, { token: 'ann' })).text).transports, expected)
  t.match(asked, [{ userId: 'ann', transports: all, request: { method: 'POST' } }])
  const peer = await node.connect({ token: 'bob' })
  t.strictSame((peer.others[0]?.header[1] as { transports: unknown }).transports, expected)
  t.same(
    asked.map(({ userId }) => userId),
    ['ann', 'bob'],
    'once for each request',
  )
})

t.test('a transport that is refused attaches nothing, and learns why', async (t) => {
  const node = await start(t, () => [{ name: 'memory', offered: false, reason: 'not in this network' }])
  const { heard, over } = await probe(node, [attach])
  t.same(heard, [['refuse', 'transport-refused', 'not in this network (transport-refused)']])
  t.equal(over, true)
  t.equal(node.app.everwire.sessions().length, 0)
  t.match(await post(node, {}), { status: 200 }, 'the others are still there')
})

t.test('a probe is asked about by its request only, and keeps the order of its answers', async (t) => {
  const asked: unknown[] = []
  const node = await start(t, async ({ userId, request }) => {
    asked.push(userId)
    return (request as { bad?: boolean }).bad ? [{ name: 'memory', offered: false }] : undefined
  })
  const good = await probe(node, [...hello, ...hello, attach])
  t.same(
    good.heard.map(([kind]) => kind),
    ['hello', 'pong', 'hello', 'pong', 'welcome'],
  )
  t.strictSame(asked, [undefined, null], 'once for the probe, and once for the attach')
  const bad = await probe(node, hello, { bad: true })
  t.same(bad.heard, [['refuse', 'transport-refused', 'refused (transport-refused)']])
})

t.test('the next poll of a link is not asked about again', async (t) => {
  let asked = 0
  const node = await start(t, () => void asked++)
  const peer = await node.connect()
  const { session } = peer
  await peer.again({ gen: 1, poll: 1, session })
  t.equal(asked, 1)
  await peer.again()
  t.equal(asked, 2)
})

t.test('a hook that fails, or talks nonsense, refuses; one that leaves nothing says so', async (t) => {
  const none = all.map((name) => ({ name, offered: false, reason: 'closed for today' }))
  const cases: [string, Negotiate, number, string][] = [
    [
      'throws',
      () => {
        throw new Error('secret detail')
      },
      500,
      'internal',
    ],
    ['rejects with a code', () => Promise.reject(new EverwireError('rate-limited')), 429, 'rate-limited'],
    ['unknown', () => [{ name: 'pigeon', offered: true }], 500, 'internal'],
    [
      'twice',
      () => [
        { name: 'sse', offered: true },
        { name: 'sse', offered: true },
      ],
      500,
      'internal',
    ],
    ['no boolean', () => [{ name: 'sse' } as never], 500, 'internal'],
    ['no list', () => ({ sse: true }) as never, 500, 'internal'],
    ['not even null', () => [null] as never, 500, 'internal'],
    ['nothing left', () => none, 503, 'no-transport'],
  ]
  for (const [name, hook, status, code] of cases) {
    const node = await start(t, hook)
    const answer = await post(node, {})
    t.equal(answer.status, status, name)
    t.match(answer.text, `["refuse","${code}"`)
    t.notMatch(answer.text, 'secret detail')
    for (const frames of [[attach], hello]) {
      const { heard, over } = await probe(node, frames)
      t.match(heard, [['refuse', code]], name)
      t.equal(heard.length, 1)
      t.equal(over, true)
    }
    t.equal(node.app.everwire.sessions().length, 0)
  }
  await t.rejects(startNode(t, { negotiate: [] as never }), { message: /negotiate must be a function/ })
})

t.test('a link that goes while the hook is asked leaves nothing behind', async (t) => {
  let answer = () => {}
  const node = await start(t, () => new Promise((resolve) => (answer = resolve)))
  const peer = await node.connect()
  peer.cut()
  await node.clock.settle()
  answer()
  await node.clock.settle()
  t.equal(node.app.everwire.sessions().length, 0)
})

t.test('who it is can be asked without opening a session', async (t) => {
  const node = await startNode(t, {
    authenticate: ({ token }) => (token === 'bad' ? null : { userId: token ?? null }),
    maxSessions: 1,
  })
  t.same(JSON.parse((await post(node, { token: 'ann', open: false })).text), {
    userId: 'ann',
    transports: [{ name: 'memory', offered: true, reason: 'enabled' }],
  })
  t.equal(node.app.everwire.sessions().length, 0)
  t.match(await post(node, { token: 'bad', open: false }), { status: 401 })
  t.match(await post(node, { open: 'no' }), { status: 400, text: 'bad-frame' })
  t.match(await post(node, { open: false, v: 2 }), { status: 426 })
  t.match(JSON.parse((await post(node, { open: true })).text), { session: String })
  t.match(await post(node, { open: false }), { status: 503, text: 'too-many-sessions' })
})

t.test('a hook that does not answer holds up nobody for longer than helloTimeoutMs', async (t) => {
  for (const name of ['authenticate', 'negotiate'] as const) {
    const slow = held<{ userId: string } & []>()
    const node = await startNode(t, { [name]: slow.hook, helloTimeoutMs: 3_000 }, all.slice(1))
    const late = () => node.logs.filter(({ level, msg }) => level >= 50 || /hook/.test(msg))
    const opened = post(node, { token: 'ann' })
    const link = await probe(node, [attach])
    await node.clock.advance(2_999)
    t.strictSame([link.heard, late()], [[], []], `${name}: in time still`)
    await node.clock.advance(1)
    const { status, text } = await opened
    t.equal(status, 503)
    t.match(text, `["refuse","temporary","${name} did not answer within 3000 ms`)
    t.equal(recoveryOf('temporary'), 'retry', 'a client tries again')
    t.match(link.heard, [['refuse', 'hello-timeout']])
    t.match(
      late(),
      Array.from({ length: 2 }, () => ({ hook: name, msg: 'everwire: a hook did not answer in time' })),
      'one line for each of the two',
    )
    slow.answer(Object.assign([], { userId: 'ann' }) as never)
    await node.clock.settle()
    t.equal(node.app.everwire.sessions().length, 0, 'what comes late opens nothing')
    t.equal(late().length, 2)
    t.match(await post(node, { token: 'ann' }), { status: 200 })
  }
})

t.test('a probe whose negotiation does not answer is refused', async (t) => {
  const node = await start(t, () => new Promise(() => {}))
  const { heard } = await probe(node, hello)
  await node.clock.advance(5_000)
  t.match(heard, [['refuse', 'hello-timeout']])
})
