import t from 'tap'
import { localStorageQueue, storedQueue, type StoredPublication } from '@everwire/client'
import { encodeFrame, type EncodedFrame } from '@everwire/core'
import { createFakeClock, type FakeClock } from '@everwire/testkit'
import { createOperations, publicationFrames } from '../src/operations.js'

/** What a browser keeps over reloads. */
function createStorage() {
  const items = new Map<string, string>()
  return {
    items,
    get length() {
      return items.size
    },
    key: (index: number) => [...items.keys()][index] ?? null,
    getItem: (name: string) => items.get(name) ?? null,
    setItem: (name: string, value: string) => void items.set(name, value),
    removeItem: (name: string) => void items.delete(name),
  }
}

/** A page: its operations, what it sends, and what it is told. */
function openPage(storage: ReturnType<typeof createStorage>, clock: FakeClock, startedAt = 1_000_000) {
  const dropped: string[] = []
  const sent: string[] = []
  const operations = createOperations({
    clock,
    queueSize: 3,
    queueBytes: 10_000,
    queueStore: localStorageQueue({
      key: 'queue',
      storage,
      now: () => startedAt + clock.now(),
      dropped: ({ id }, { code }) => dropped.push(`${id} ${code}`),
    }),
  })
  const session = {
    ended: false,
    send: ({ head, data }: EncodedFrame) => sent.push(`${head} ${String(data)}`),
    withdraw: () => false,
  }
  return {
    operations,
    dropped,
    sent,
    connect: (dedupWindowMs = 120_000) => operations.begin(session, { frameBytes: 1_000, dedupWindowMs }),
    publish: (id: string, data = '1', timeoutMs = 600_000) => {
      const { first, again } = publicationFrames('a:b', 'e', id, { data })
      const result: { code?: string } = {}
      operations.start(first, { again, timeoutMs }, (error) => {
        result.code = error ? error.code : 'accepted'
      })
      return result
    },
  }
}

t.test('what was never sent is sent by the next page, in order, however late', async (t) => {
  const clock = createFakeClock()
  const storage = createStorage()
  const first = openPage(storage, clock)
  first.publish('x.1', '"one"')
  first.publish('x.2', '"two"')
  t.equal(storage.length, 2)
  await clock.advance(300_000)
  const second = openPage(storage, clock)
  second.publish('y.1', '"three"')
  second.connect()
  t.same(second.sent, [
    '["pub","a:b","e","x.1"] "one"',
    '["pub","a:b","e","x.2"] "two"',
    '["pub","a:b","e","y.1"] "three"',
  ])
  for (const number of [1, 2, 3]) second.operations.answered({ header: ['ack', number] })
  t.same([second.dropped, storage.length], [[], 0])
})

t.test('what may have arrived is repeated as such, but not when it could be stored twice', async (t) => {
  const clock = createFakeClock()
  const storage = createStorage()
  const first = openPage(storage, clock)
  first.connect()
  first.publish('x.1')
  await clock.advance(50_000)
  first.publish('x.2')
  await clock.advance(20_000)
  const second = openPage(storage, clock)
  second.connect()
  t.same(second.sent, ['["pub","a:b","e","x.2",1] 1'])
  t.same(second.dropped, ['x.1 outcome-unknown'])
  t.same([...storage.items.keys()], ['queue:x.2'])
})

t.test('a publication whose time is over while no page is open is dropped, and told', async (t) => {
  const clock = createFakeClock()
  const storage = createStorage()
  openPage(storage, clock).publish('x.1', '1', 30_000)
  // The page is gone, and its timers with it: the time is that of another clock.
  const later = openPage(storage, createFakeClock(), 1_030_000)
  t.same([later.dropped, storage.length], [['x.1 timeout'], 0])
})

t.test('a clock that was set back proves nothing, so that nothing is repeated by it', (t) => {
  const storage = createStorage()
  const first = openPage(storage, createFakeClock())
  first.connect()
  first.publish('x.1')
  const earlier = openPage(storage, createFakeClock(), 500_000)
  earlier.connect()
  t.same([earlier.sent, earlier.dropped], [[], ['x.1 outcome-unknown']])
  t.end()
})

t.test('what the publisher was told of is kept no more, whatever it was told', async (t) => {
  const clock = createFakeClock()
  const storage = createStorage()
  const page = openPage(storage, clock)
  page.connect()
  const [accepted, refused, late] = [
    page.publish('x.1'),
    page.publish('x.2'),
    page.publish('x.3', '1', 1_000),
  ]
  t.equal(storage.length, 3)
  t.equal(page.publish('x.4').code, 'queue-full', 'bounded as the queue')
  page.operations.answered({ header: ['ack', 1] })
  page.operations.answered({ header: ['err', 2, 'forbidden'] })
  await clock.advance(1_000)
  t.same([accepted.code, refused.code, late.code], ['accepted', 'forbidden', 'outcome-unknown'])
  t.same([storage.length, page.dropped], [0, []])
})

t.test('the bounds of the queue hold for what is restored', (t) => {
  const storage = createStorage()
  for (const order of [3, 2, 1, 0]) {
    const one = { id: `x.${order}`, channel: 'a:b', event: 'e', queuedAt: 1_000_000, order, timeoutMs: 1_000 }
    storage.items.set(`queue:x.${order}`, JSON.stringify(one))
  }
  storage.items.set('queue:broken', 'no JSON')
  storage.items.set('other:key', 'not ours')
  const page = openPage(storage, createFakeClock())
  t.equal(page.operations.size, 3)
  t.same(page.dropped, ['x.3 queue-full'], 'the newest')
  t.end()
})

t.test('requests, binary payloads and other frames are not kept', (t) => {
  const storage = createStorage()
  const page = openPage(storage, createFakeClock())
  const heard = () => {}
  page.operations.start(encodeFrame(['sub', 'a:b']), { timeoutMs: 1_000, perSession: true }, heard)
  page.operations.start(encodeFrame(['req', 'm', 1_000], '1'), { timeoutMs: 1_000 }, heard)
  const binary = publicationFrames('a:b', 'e', 'x.1', { data: Uint8Array.of(1), binary: true })
  page.operations.start(binary.first, { again: binary.again, timeoutMs: 1_000 }, heard)
  t.equal(storage.length, 0)
  t.end()
})

t.test('a store that fails takes nothing from publishing, and one that is slow is waited for', async (t) => {
  const publication: StoredPublication = {
    id: 'x.1',
    channel: 'a:b',
    event: 'e',
    queuedAt: Date.now(),
    order: 0,
    timeoutMs: 60_000,
  }
  const sent: string[] = []
  const loaded = Promise.resolve([publication])
  const operations = createOperations({
    clock: createFakeClock(),
    queueSize: 3,
    queueBytes: 10_000,
    queueStore: storedQueue({
      load: () => loaded,
      add: () => Promise.reject(new Error('full')),
      remove() {
        throw new Error('forbidden')
      },
    }),
  })
  const session = { ended: false, send: ({ head }: EncodedFrame) => sent.push(head), withdraw: () => false }
  operations.begin(session, { frameBytes: 1_000, dedupWindowMs: 120_000 })
  await loaded
  t.same(sent, ['["pub","a:b","e","x.1"]'])
  t.ok(operations.answered({ header: ['ack', 1] }))
})
