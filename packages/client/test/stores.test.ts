import t, { type Test } from 'tap'
import { createClient } from '@everwire/client'
import { channelStore, connectionStore, latestStore, type Store } from '@everwire/client/stores'
import { isSessionKind, type ClientTransport, type Frame, type LinkHandler } from '@everwire/core'
import { createFakeClock } from '@everwire/testkit'

// Against a server that is a script: what goes over the wire is what counts.

const welcome = {
  ...{ session: 's', gen: 1, from: 1, applied: 0, node: 'n', userId: 'ann', heartbeatMs: 3_600_000 },
  ...{
    resumeWindowMs: 60_000,
    dedupWindowMs: 120_000,
    frameBytes: 65_536,
    ackFrames: 250,
    ackBytes: 262_144,
  },
  transports: [],
}

/** A client whose server accepts everything but the channels in `refused`. */
function connect(t: Test, { history = false, refused = [] as string[] } = {}) {
  const clock = createFakeClock()
  const sent: unknown[][] = []
  let handler: LinkHandler | undefined
  let applied = 0
  const receive = (header: Frame['header'], data?: string) =>
    handler!.receive({ header, data, binary: false })
  const answer = ([kind, name]: unknown[], number: number) => {
    if (kind === 'sub' && refused.includes(name as string)) receive(['err', number, 'forbidden'])
    else receive(history && kind === 'sub' ? ['ack', number, 'e', 4] : ['ack', number])
  }
  const transport: ClientTransport = {
    name: 'script',
    supported: () => true,
    probe: () => Promise.reject(new Error('not probed')),
    attach(_handshake, to) {
      handler = to
      queueMicrotask(() => receive(['welcome', welcome]))
      const send = (head: string) => {
        const header = JSON.parse(head) as string[]
        if (!isSessionKind(header[0]!)) return
        const number = ++applied
        sent.push(header)
        queueMicrotask(() => answer(header, number))
      }
      return {
        transport: 'script',
        bufferedBytes: 0,
        send: (frames) => {
          for (const { head } of frames) send(head)
          return true
        },
        close() {},
      }
    },
  }
  const client = createClient({ url: 'http://localhost/everwire', transports: [transport], clock })
  t.teardown(() => client.close())
  let number = 0
  return {
    client,
    clock,
    sent,
    receive,
    /** A publication of run `r` in a live channel, or after the position in one with history. */
    publish: (channel: string, event: string, data: unknown) => {
      const [previous, next] = [number, ++number]
      const fields = history ? [4 + next, 4 + previous] : ['r', next, previous]
      receive(['m', channel, event, ...fields], JSON.stringify(data))
    },
  }
}

/** Listens, and counts the changes. */
function listen(store: Store<unknown>) {
  const heard = { changes: 0, off: () => {} }
  heard.off = store.subscribe(() => void heard.changes++)
  return heard
}
const settled = () => new Promise(setImmediate)
const data = (list: readonly { data: unknown }[]) => list.map((one) => one.data)

t.test('stores of one channel share one subscription, until the last one has lingered', async (t) => {
  const { client, clock, sent, publish } = connect(t)
  const [chat, prices] = [
    channelStore(client, 'chat:a', { clock }),
    latestStore<number>(client, 'chat:a', 'price', { clock }),
  ]
  const one = listen(chat)
  const other = listen(prices)
  await settled()
  t.same(sent, [['sub', 'chat:a']])
  t.equal(chat.getSnapshot().status, 'subscribed')
  publish('chat:a', 'message', 'hello')
  publish('chat:a', 'price', 1)
  publish('chat:a', 'price', 2)
  t.same(data(chat.getSnapshot().publications), ['hello', 1, 2])
  t.match(prices.getSnapshot(), { data: 2, meta: { event: 'price' }, status: 'subscribed' })

  one.off()
  one.off()
  await settled()
  await clock.advance(60_000)
  publish('chat:a', 'price', 3)
  t.equal(prices.getSnapshot().data, 3, 'the other one reads on')
  t.equal(chat.getSnapshot().publications.length, 3, 'and the first has ended')
  other.off()
  await settled()
  await clock.advance(999)
  t.equal(sent.length, 1)
  await clock.advance(1)
  await settled()
  t.same(sent.slice(1), [['unsub', 'chat:a']])
})

t.test('who leaves and comes back within the time goes on; later it begins anew', async (t) => {
  const { client, clock, sent, publish } = connect(t)
  const store = channelStore(client, 'chat:a', { clock, lingerMs: 50 })
  listen(store).off()
  await settled()
  t.same([sent, client.state], [[], 'idle'], 'a look in passing opens nothing')

  listen(store).off()
  let { off } = listen(store)
  await settled()
  publish('chat:a', 'message', 1)
  off()
  await settled()
  await clock.advance(49)
  publish('chat:a', 'message', 2)
  ;({ off } = listen(store))
  await settled()
  await clock.advance(1_000)
  t.same(data(store.getSnapshot().publications), [1, 2])
  t.same(sent, [['sub', 'chat:a']])

  off()
  await settled()
  await clock.advance(50)
  listen(store)
  await settled()
  t.same(sent.slice(1), [
    ['unsub', 'chat:a'],
    ['sub', 'chat:a'],
  ])
  t.same(store.getSnapshot().publications, [], 'what came meanwhile is not known')
})

t.test('snapshots stay the same until something changes, and each change is told', async (t) => {
  const { client, clock, publish } = connect(t)
  const store = channelStore(client, 'chat:a', { clock, events: ['message'], limit: 2 })
  const latest = latestStore(client, 'chat:a', 'message', { clock })
  t.equal(store.getSnapshot(), store.getServerSnapshot())
  t.equal(latest.getSnapshot(), latest.getServerSnapshot())
  const heard = listen(store)
  listen(latest)
  await settled()
  const [before, changes] = [store.getSnapshot(), heard.changes]
  publish('chat:a', 'typing', 'ann')
  t.equal(store.getSnapshot(), before)
  t.equal(latest.getSnapshot(), latest.getSnapshot())
  t.equal(heard.changes, changes)
  for (const text of ['one', 'two', 'three']) publish('chat:a', 'message', text)
  t.equal(heard.changes, changes + 3)
  const { publications } = store.getSnapshot()
  t.same(data(publications), ['two', 'three'], 'bounded by its limit')
  t.same(new Set(publications.map(({ key }) => key)).size, 2)
  t.same(store.getServerSnapshot().publications, [])
  t.throws(() => channelStore(client, 'chat:a', { limit: 0 }), /positive whole number/)
  t.throws(() => channelStore(client, 'nowhere'), { code: 'invalid-channel' })
})

t.test('reduce replaces and removes; the limit still holds', async (t) => {
  type Message = { id: number; text?: string }
  const { client, clock, publish } = connect(t)
  const store = channelStore<Message>(client, 'chat:a', {
    ...{ clock, limit: 2 },
    reduce: (publications, next) => {
      const others = publications.filter((one) => one.data.id !== next.data.id)
      return next.meta.event === 'deleted' ? others : [...others, next]
    },
  })
  listen(store)
  await settled()
  for (const id of [1, 2, 3]) publish('chat:a', 'message', { id, text: 'first' })
  publish('chat:a', 'message', { id: 2, text: 'edited' })
  t.same(data(store.getSnapshot().publications), [
    { id: 3, text: 'first' },
    { id: 2, text: 'edited' },
  ])
  publish('chat:a', 'deleted', { id: 3 })
  t.same(data(store.getSnapshot().publications), [{ id: 2, text: 'edited' }])
})

t.test('goes on after what it was given to begin with, and shows none of that twice', async (t) => {
  const { client, clock, sent, receive, publish } = connect(t, { history: true })
  const position = { epoch: 'e', offset: 4 }
  const initial = [{ data: 'old', meta: { channel: 'chat:a', event: 'message', position } }]
  const store = channelStore(client, 'chat:a', { clock, initial })
  const ahead = channelStore(client, 'chat:a', {
    clock,
    initial: [{ data: 'new', meta: { ...initial[0]!.meta, position: { epoch: 'e', offset: 5 } } }],
  })
  t.same(data(store.getServerSnapshot().publications), ['old'])
  listen(store)
  listen(ahead)
  await settled()
  t.same(sent, [['sub', 'chat:a', 'e', 4]])
  publish('chat:a', 'message', 'new')
  publish('chat:a', 'message', 'newer')
  t.same(data(store.getSnapshot().publications), ['old', 'new', 'newer'])
  t.same(data(ahead.getSnapshot().publications), ['new', 'newer'])
  t.same([store.getSnapshot().gaps, ahead.getSnapshot().gaps], [0, 0])

  const late = channelStore(client, 'chat:a', { clock, initial })
  listen(late)
  await settled()
  t.match(late.getSnapshot(), { gaps: 1, gap: { reason: 'limit' }, status: 'subscribed' })
  receive(['gap', 'chat:a', 'expired', 'e', 9])
  t.match(store.getSnapshot(), { gaps: 1, gap: { reason: 'expired', position: { offset: 9 } } })
})

t.test('a refusal is shown to all, and whoever comes later tries again', async (t) => {
  const refused = ['chat:a']
  const { client, clock, sent, receive } = connect(t, { refused })
  const [one, other] = [0, 1].map(() => channelStore(client, 'chat:a', { clock })) as [
    ReturnType<typeof channelStore>,
    ReturnType<typeof channelStore>,
  ]
  listen(one)
  await settled()
  t.match(one.getSnapshot(), { status: 'failed', error: { code: 'forbidden' } })
  refused.pop()
  listen(other)
  await settled()
  for (const store of [one, other]) t.match(store.getSnapshot(), { status: 'subscribed', error: undefined })
  t.equal(sent.length, 2)
  receive(['unsub', 'chat:a', 'forbidden'])
  for (const store of [one, other])
    t.match(store.getSnapshot(), { status: 'failed', error: { code: 'forbidden' } })
})

t.test('what the application subscribed itself is left to it', async (t) => {
  const { client, clock, sent } = connect(t)
  await client.channel('chat:a').subscribe()
  const store = channelStore(client, 'chat:a', { clock })
  const { off } = listen(store)
  await settled()
  t.equal(store.getSnapshot().status, 'subscribed')
  off()
  await settled()
  await clock.advance(60_000)
  t.same(sent, [['sub', 'chat:a']])
  t.equal(client.channel('chat:a').subscribed, true)
})

t.test('a client that closes ends its stores, and leaves no timer behind', async (t) => {
  const { client, clock } = connect(t)
  const [store, left] = [channelStore(client, 'chat:a', { clock }), channelStore(client, 'chat:b', { clock })]
  const { off } = listen(store)
  listen(left)
  const { off: leave } = listen(left)
  leave()
  const lingering = channelStore(client, 'chat:c', { clock })
  const gone = listen(lingering)
  await settled()
  gone.off()
  await settled()
  client.close()
  for (const { status, error } of [store.getSnapshot(), left.getSnapshot()])
    t.match({ status, error }, { status: 'failed', error: { code: 'closed' } })
  await settled()
  t.equal(clock.pending, 0)
  off()
  await settled()
  t.equal(clock.pending, 0)
  const late = channelStore(client, 'chat:d', { clock })
  listen(late)
  await settled()
  t.match(late.getSnapshot(), { status: 'failed', error: { code: 'closed' } })
})

t.test('the connection: who, over what, and why not', async (t) => {
  const { client } = connect(t)
  const store = connectionStore(client)
  const heard = listen(store)
  t.equal(store.getSnapshot(), store.getSnapshot())
  t.same(store.getSnapshot(), store.getServerSnapshot())
  t.equal(client.state, 'idle', 'looking opens nothing')
  client.connect()
  t.equal(store.getSnapshot().state, 'connecting')
  await settled()
  const connected = store.getSnapshot()
  t.match(connected, { state: 'connected', transport: 'script', userId: 'ann', error: undefined })
  t.equal(store.getSnapshot(), connected)
  client.close()
  t.match(store.getSnapshot(), { state: 'closed', error: { code: 'closed' } })
  t.equal(store.getServerSnapshot().state, 'idle')
  const { changes } = heard
  t.ok(changes >= 3)
})

t.test('without a client or a name everything stays as it began', async (t) => {
  const { client } = connect(t)
  const initial = [{ data: 1, meta: { channel: 'chat:a', event: 'message' } }]
  for (const store of [
    channelStore(undefined, 'chat:a', { initial }),
    channelStore(client, null, { initial }),
  ]) {
    listen(store)
    await settled()
    t.match(store.getSnapshot(), { status: 'idle', publications: [{ key: 0, data: 1 }] })
    t.equal(store.getSnapshot(), store.getServerSnapshot())
  }
  const offline = connectionStore(undefined)
  listen(offline).off()
  t.equal(offline.getSnapshot().state, 'idle')
  t.equal(client.state, 'idle')
})
