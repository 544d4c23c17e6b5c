import type { StoredListener } from '@everwire/core'
import t from 'tap'
import { memoryBus, type FollowedPublication } from '../src/index.js'
import { startNode } from './memory-transport.js'

t.test('the server follows a channel with history from now on, with positions', async (t) => {
  const { app } = await startNode(t)
  app.everwire.channel('h:*', { history: { size: 10 } })
  await app.everwire.publish('h:1', 'n', 'before')
  const seen: FollowedPublication[] = []
  let from: unknown
  const stop = await app.everwire.follow('h:1', {
    start: (position) => (from = position),
    publication: (publication) => seen.push(publication),
  })
  const first = await app.everwire.publish('h:1', 'n', { x: 1 })
  const second = await app.everwire.publish('h:1', 'bytes', new Uint8Array([1, 2]))
  stop()
  stop()
  await app.everwire.publish('h:1', 'n', 'after')
  t.match(from, { epoch: first!.epoch })
  t.strictSame(seen, [
    { event: 'n', data: { x: 1 }, position: first, userId: undefined },
    { event: 'bytes', data: new Uint8Array([1, 2]), position: second, userId: undefined },
  ])
})

t.test('a live channel too; and the user id where the channel shows it', async (t) => {
  const { app, connect } = await startNode(t)
  app.everwire.channel('live:*', { publish: true, showPublisher: true })
  const seen: FollowedPublication[] = []
  await app.everwire.follow('live:1', { publication: (publication) => seen.push(publication) })
  const peer = await connect({ token: 'ann' })
  await peer.ask(['pub', 'live:1', 'n', 'id-1'], '"hello"')
  t.strictSame(seen, [{ event: 'n', data: 'hello', position: undefined, userId: 'ann' }])
})

t.test('a listener that throws ends nothing; a channel without a rule is refused', async (t) => {
  const { app } = await startNode(t)
  app.everwire.channel('h:*', { history: {} })
  let heard = 0
  await app.everwire.follow('h:1', {
    publication() {
      heard++
      throw new Error('mine')
    },
  })
  await app.everwire.publish('h:1', 'n', 1)
  await app.everwire.publish('h:1', 'n', 2)
  t.equal(heard, 2)
  await t.rejects(app.everwire.follow('other:1', { publication: () => {} }), { code: 'unknown-channel' })
})

t.test('a history that began anew is told as a gap, and positions are of the new one', async (t) => {
  const bus = memoryBus()
  let followed: StoredListener | undefined
  const { app } = await startNode(t, {
    bus: {
      ...bus,
      follow: (channel, history, listener) => {
        followed = listener
        return bus.follow(channel, history, listener)
      },
    },
  })
  app.everwire.channel('h:*', { history: {} })
  const seen: unknown[] = []
  await app.everwire.follow('h:1', {
    gap: (reason, position) => seen.push([reason, position]),
    publication: ({ position }) => seen.push(position),
  })
  const position = { epoch: 'another', offset: 7 }
  followed!.gap('epoch', position)
  followed!.publication({ event: 'n', offset: 9 })
  t.strictSame(seen, [['epoch', position], { epoch: 'another', offset: 9 }])
})

t.test('the server reads what a channel keeps, newest page first, oldest of it first', async (t) => {
  const { app } = await startNode(t)
  app.everwire.channel('h:*', { history: {} })
  app.everwire.channel('live:*', {})
  for (const n of [1, 2, 3]) await app.everwire.publish('h:1', 'n', n)
  const newest = await app.everwire.history('h:1', { limit: 2 })
  t.strictSame([newest.publications.map(({ data }) => data), newest.more], [[2, 3], true])
  const older = await app.everwire.history('h:1', { before: newest.publications[0]!.position!.offset })
  t.strictSame([older.publications.map(({ data }) => data), older.more], [[1], false])
  await t.rejects(app.everwire.history('live:1'), { code: 'no-history' })
})

t.test('the server knows how many read a channel here, without itself', async (t) => {
  const { app, connect } = await startNode(t)
  app.everwire.channel('h:*', { history: {}, subscribe: true })
  const stop = await app.everwire.follow('h:1', { publication: () => {} })
  t.equal(app.everwire.subscribers('h:1'), 0)
  const peer = await connect()
  await peer.ask(['sub', 'h:1'])
  t.equal(app.everwire.subscribers('h:1'), 1)
  stop()
  await peer.ask(['unsub', 'h:1'])
  t.equal(app.everwire.subscribers('h:1'), 0)
})
