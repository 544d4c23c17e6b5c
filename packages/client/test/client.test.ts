import t from 'tap'
import { createClient, type ClientOptions } from '@everwire/client'
import { type ClientTransport, type LinkHandler } from '@everwire/core'
import { createFakeClock } from '@everwire/testkit'

// What a client does by itself, without a server. With one it is tested in each transport's suite.

/** A transport whose every attempt fails, and the times at which there was one. */
function deadTransport(now: () => number, code: 'link-lost' | 'unauthorized' = 'link-lost') {
  const attempts: number[] = []
  const transport: ClientTransport = {
    name: 'dead',
    supported: () => true,
    probe: () => Promise.reject(new Error('not probed')),
    attach(_handshake, handler) {
      attempts.push(now())
      queueMicrotask(() => handler.closed(code, 'dead'))
      return { transport: 'dead', bufferedBytes: 0, send: () => true, close() {} }
    },
  }
  return { transport, attempts }
}

function offline(options: Partial<ClientOptions> = {}, code?: 'unauthorized') {
  const clock = createFakeClock()
  const { transport, attempts } = deadTransport(() => clock.now(), code)
  const client = createClient({
    url: 'http://localhost:1/everwire',
    transports: [transport],
    fetch: () => Promise.reject(new TypeError('no network')),
    clock,
    ...options,
  })
  return { client, clock, attempts }
}

t.test('comes back with a growing, bounded backoff, and never faster than that', async (t) => {
  // The highest that jitter allows, so that the ceilings can be seen.
  const { client, clock, attempts } = offline({ random: () => 0.999_999 })
  client.connect()
  for (let second = 0; second < 120; second++) await clock.advance(1_000)
  const waits = attempts.slice(1).map((at, index) => Math.round((at - attempts[index]!) / 500) * 500)
  t.same(waits.slice(0, 7), [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000])
  t.ok(waits.slice(6).every((wait) => wait === 20_000))
  t.equal(client.state, 'reconnecting')
  t.match(client.explain().sentence, /reconnecting: dead failed/)
  client.close()
  t.equal(client.state, 'closed')
  t.equal(clock.pending, 0, 'nothing is left running')
})

t.test('a publication that could not be sent in its time is known not to have happened', async (t) => {
  const { client, clock } = offline()
  const publication = client.channel('chat:a').publish('message', 1, { timeoutMs: 5_000 })
  const rejected = t.rejects(publication, { code: 'timeout' })
  await clock.advance(5_000)
  await rejected
  client.close()
})

t.test('the queue is bounded by operations and by bytes', async (t) => {
  const { client } = offline({ queueSize: 2, queueBytes: 1_000 })
  const channel = client.channel('chat:a')
  const large = t.rejects(channel.publish('message', 'x'.repeat(2_000)), { code: 'queue-full' })
  const waiting = [channel.publish('message', 1), channel.publish('message', 2)]
  const over = t.rejects(channel.publish('message', 3), { code: 'queue-full' })
  await Promise.all([large, over])
  t.equal(client.stats().open, 2)
  const closed = waiting.map((one) => t.rejects(one, { code: 'closed' }))
  client.close()
  await Promise.all(closed)
})

t.test('a code that ends it all stops reconnecting, and everything that waits is told', async (t) => {
  const { client, clock, attempts } = offline({}, 'unauthorized')
  const changes: string[] = []
  client.on('state', ({ state, error }) => changes.push(`${state} ${error?.code ?? ''}`.trim()))
  const subscribed = t.rejects(client.channel('chat:a').subscribe(), { code: 'unauthorized' })
  const published = t.rejects(client.channel('chat:a').publish('message', 1), { code: 'unauthorized' })
  await clock.advance(60_000)
  await Promise.all([subscribed, published])
  t.same(changes, ['connecting', 'closed unauthorized'])
  t.equal(attempts.length, 1)
})

t.test('misuse is told at once, with what to do', async (t) => {
  const { client } = offline()
  t.throws(() => client.channel('lobby'), { code: 'invalid-channel', message: /namespace:rest/ })
  t.throws(
    () => createClient({ url: '/everwire', transports: [deadTransport(() => 0).transport] }),
    /absolute/,
  )
  t.throws(() => createClient({ url: 'http://localhost', transports: [] }), /at least one/)
  await t.rejects(client.channel('chat:a').publish('message', 1n), { code: 'bad-payload' })
  await t.rejects(client.switchTo('pigeon'), { code: 'no-transport' })
  client.close()
})

t.test('a listener that throws hides nothing from the others, and its undo takes only itself', async (t) => {
  const { client, clock } = offline()
  const heard: string[] = []
  const uncaught = new Promise((resolve) => process.once('uncaughtException', resolve))
  const off = client.on('state', () => {
    throw new Error('the application failed')
  })
  const listener = ({ state }: { state: string }) => heard.push(state)
  client.on('state', listener)
  client.on('state', listener)()
  client.connect()
  t.match(await uncaught, /the application failed/)
  t.same(heard.slice(0, 1), ['connecting'])
  off()
  client.close()
  await clock.advance(0)
  t.same(heard.at(-1), 'closed')
})

t.test(
  'each request of a link is counted from its own welcome, whatever an older link brought meanwhile',
  async (t) => {
    const handlers = new Map<string, LinkHandler>()
    const scripted = (name: string): ClientTransport => ({
      name,
      supported: () => true,
      probe: async () => ({ attach: scripted(name).attach, close() {} }),
      attach(_handshake, handler) {
        handlers.set(name, handler)
        return { transport: name, bufferedBytes: 0, send: () => true, close() {} }
      },
    })
    const { client } = offline({ transports: [scripted('stream'), scripted('polls')] })
    const receive = (name: string, ...header: [string, ...unknown[]]) =>
      handlers.get(name)!.receive({ header, data: undefined, binary: false })
    const welcome = (gen: number, from: number) => ({
      ...{ session: 's', gen, from, applied: 0, node: 'n', userId: null, heartbeatMs: 25_000 },
      ...{
        resumeWindowMs: 60_000,
        dedupWindowMs: 120_000,
        frameBytes: 65_536,
        ackFrames: 250,
        ackBytes: 262_144,
      },
      transports: [],
    })
    client.connect()
    await new Promise(setImmediate)
    receive('stream', 'welcome', welcome(1, 1))
    receive('stream', 'void', 2)
    const switched = client.switchTo('polls')
    await new Promise(setImmediate)
    // The attach has named cursor 2; these come on the link that is about to be left.
    receive('stream', 'void', 3)
    receive('polls', 'welcome', welcome(2, 3))
    await switched
    receive('polls', 'void', 1)
    receive('polls', 'welcome', { gen: 2, from: 6, applied: 0 })
    receive('polls', 'void', 1)
    receive('polls', 'ping', 6)
    t.same([client.state, client.stats().received, client.stats().sessions], ['connected', 6, 1])
    client.close()
  },
)

t.test('a welcome that a confirmation has overtaken says less than is known, and is no fault', async (t) => {
  let handler: LinkHandler | undefined
  const polls: ClientTransport = {
    name: 'polls',
    supported: () => true,
    probe: () => Promise.reject(new Error('not probed')),
    attach(_handshake, to) {
      handler = to
      return { transport: 'polls', bufferedBytes: 0, send: () => true, close() {} }
    },
  }
  const { client } = offline({ transports: [polls] })
  const receive = (...header: [string, ...unknown[]]) =>
    handler!.receive({ header, data: undefined, binary: false })
  client.connect()
  await new Promise(setImmediate)
  receive('welcome', {
    ...{ session: 's', gen: 1, from: 1, applied: 0, node: 'n', userId: null, heartbeatMs: 25_000 },
    ...{ resumeWindowMs: 60_000, dedupWindowMs: 120_000, frameBytes: 65_536 },
    ...{ ackFrames: 250, ackBytes: 262_144, transports: [] },
  })
  const published = [1, 2].map((n) => client.channel('chat:a').publish('message', n))
  await new Promise(setImmediate)
  // The answer of the uplink was quicker than the welcome of the poll that was asked before.
  receive('seen', 2)
  receive('welcome', { gen: 1, from: 1, applied: 1 })
  receive('ack', 1)
  receive('ack', 2)
  t.same(await Promise.all(published), [{}, {}])
  t.same([client.state, client.stats().sessions], ['connected', 1])
  client.close()
})
