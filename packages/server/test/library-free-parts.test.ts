import { Writable } from 'node:stream'
import { encodeFrame, EverwireError, type Position } from '@everwire/core'
import { createFakeClock } from '@everwire/testkit'
import type { FastifyReply } from 'fastify'
import t from 'tap'
import type { Reader } from '../src/channels/entry.js'
import type { Hub } from '../src/channels/hub.js'
import { nativeEvents } from '../src/library-free/events.js'
import { createChannelPoll } from '../src/library-free/poll.js'
import { MessageCache } from '../src/library-free/reader.js'
import { createChannelStream } from '../src/library-free/stream.js'
import { createServerKeys } from '../src/library-free/server-keys.js'
import { nextCursor } from '../src/library-free/stream-cursor.js'
import { Tickets } from '../src/library-free/tickets.js'
import { positionToken, readStart } from '../src/library-free/position-token.js'

const minute = 60_000

function start({ key = 'k'.repeat(32) } = {}) {
  const time = { now: 1_000_000 }
  const make = () =>
    new Tickets({
      key,
      ticketMs: 10_000,
      streamMs: 60 * minute,
      resumeMs: 2 * minute,
      wallClock: () => time.now,
    })
  return { time, make, tickets: make() }
}

const codeOf = (run: () => unknown) => {
  try {
    run()
  } catch (error) {
    return (error as { code: string }).code
  }
  return undefined
}

t.test('a ticket opens one stream, within its time', async (t) => {
  const { tickets, time } = start()
  const identity = { userId: 'ann', claims: { role: 'member' }, expiresAt: time.now + 30 * minute }
  const { ticket, expiresInMs } = tickets.issue(identity, undefined)
  t.equal(expiresInMs, 10_000)
  t.notMatch(
    Buffer.from(ticket, 'base64url').toString('latin1'),
    /ann|member/,
    'it says nothing to who reads a log',
  )
  const admitted = tickets.admit(ticket, 'chat:a', undefined)
  t.strictSame(admitted.identity, identity)
  t.equal(admitted.endsAt, identity.expiresAt)
  t.equal(
    codeOf(() => tickets.admit(ticket, 'chat:a', undefined)),
    'ticket-refused',
  )

  const late = tickets.issue(identity, undefined).ticket
  time.now += 10_001
  t.equal(
    codeOf(() => tickets.admit(late, 'chat:a', undefined)),
    'ticket-refused',
  )
})

t.test('a ticket that was given back is good again', async (t) => {
  const { tickets } = start()
  const { ticket } = tickets.issue({ userId: null }, undefined)
  tickets.admit(ticket, 'chat:a', undefined).giveBack()
  t.ok(tickets.admit(ticket, 'chat:a', undefined))
})

t.test('a ticket for one channel opens no other', async (t) => {
  const { tickets } = start()
  const { ticket } = tickets.issue({ userId: 'ann' }, 'chat:a')
  t.equal(
    codeOf(() => tickets.admit(ticket, 'chat:b', undefined)),
    'ticket-refused',
  )
  t.ok(tickets.admit(ticket, 'chat:a', undefined))
})

t.test(
  'a used ticket resumes with the grant of its stream, for so long, on every node with the key',
  async (t) => {
    const { tickets, time, make } = start()
    const { ticket } = tickets.issue({ userId: 'ann' }, undefined)
    let { grant } = tickets.admit(ticket, 'chat:a', undefined)
    const other = make()
    time.now += 2 * minute
    grant = other.admit(ticket, 'chat:a', grant).grant
    t.equal(
      codeOf(() => other.admit(ticket, 'chat:b', grant)),
      'ticket-refused',
      'not another channel',
    )
    time.now += 2 * minute + 1
    t.equal(
      codeOf(() => other.admit(ticket, 'chat:a', grant)),
      'ticket-refused',
      'it came too late',
    )

    const next = tickets.issue({ userId: 'ann' }, undefined).ticket
    let last = tickets.admit(next, 'chat:a', undefined).grant
    for (let turn = 1; turn < 60; turn++) {
      time.now += minute
      last = tickets.admit(next, 'chat:a', last).grant
    }
    time.now += minute
    t.equal(
      codeOf(() => tickets.admit(next, 'chat:a', last)),
      'ticket-refused',
      'it must authenticate again',
    )
  },
)

t.test('what another key made, or nobody, opens nothing', async (t) => {
  const { tickets } = start()
  const stranger = start({ key: 'x'.repeat(32) }).tickets.issue({ userId: 'ann' }, undefined).ticket
  const { ticket } = tickets.issue({ userId: 'ann' }, undefined)
  const { grant } = tickets.admit(ticket, 'chat:a', undefined)
  const flipped = Buffer.from(ticket, 'base64url')
  flipped[40]! ^= 1
  for (const forged of [
    stranger,
    flipped.toString('base64url'),
    '',
    'x',
    'A'.repeat(5_000),
    `${ticket}\n`,
    '%00',
  ])
    t.equal(
      codeOf(() => tickets.admit(forged, 'chat:a', undefined)),
      'ticket-refused',
    )
  const [time, mac] = grant.split('.') as [string, string]
  for (const forged of ['', '.', `zzzzzzzz.${mac}`, `${time}.${'A'.repeat(22)}`, `${grant}x`, ` ${grant}`])
    t.equal(
      codeOf(() => tickets.admit(ticket, 'chat:a', forged)),
      'ticket-refused',
    )
  t.equal(
    codeOf(() => tickets.issue({ userId: 'ann', claims: 'x'.repeat(5_000) }, undefined)),
    'frame-too-large',
  )
})

t.test('a ticket ends with the token that it was made for', async (t) => {
  const { tickets, time } = start()
  const { ticket } = tickets.issue({ userId: 'ann', expiresAt: time.now + 5_000 }, undefined)
  time.now += 5_000
  t.equal(
    codeOf(() => tickets.admit(ticket, 'chat:a', undefined)),
    'token-expired',
  )
})

t.test('a key of the server is known among others, and nothing else is', async (t) => {
  const isServer = createServerKeys(['a'.repeat(32), 'b'.repeat(40)])
  t.strictSame(
    ['a'.repeat(32), 'b'.repeat(40), 'a'.repeat(31), 'b'.repeat(41), '', undefined].map(isServer),
    [true, true, false, false, false, false],
  )
  t.notOk(createServerKeys([])(undefined))
})

t.test('position tokens sort as positions do, and only those that were handed out are read', async (t) => {
  const token = (offset: number, epoch = 'k3v9x2m4qa') => positionToken({ epoch, offset })
  const offsets = [0, 1, 9, 10, 99, 1_000_000, Number.MAX_SAFE_INTEGER]
  const tokens = offsets.map((offset) => token(offset))
  t.strictSame([...tokens].sort(), tokens)
  t.equal(token(1042), 'k3v9x2m4qa_0000000000001042')
  for (const epoch of ['k3v9x2m4qa', 'a_b', '', 'ä/?&=,~', '2026-11-23T12:00:00Z', 'now', '-1']) {
    const text = token(7, epoch)
    t.match(text, /^[\w~-]+$/)
    t.strictSame(readStart(text), { epoch, offset: 7 })
  }
  t.strictSame(['-1', 'now', 'live'].map(readStart), ['beginning', 'now', 'live'])
  const hostile = [
    '', '0', '-2', 'NOW', 'a_1', 'a_00000000000000001', 'a_9999999999999999', 'a_000000000000001x', '_0000000000000001',
    '~_0000000000000001x', '~!_0000000000000001', 'a/b_0000000000000001', 'a_0000000000000001\n', `${'a'.repeat(300)}_0000000000000001`,
  ] // prettier-ignore
  for (const text of hostile)
    t.equal(
      codeOf(() => readStart(text)),
      'bad-request',
      JSON.stringify(text),
    )
})

t.test('a cursor is the number of the interval, and always beyond the one that was brought', async (t) => {
  const now = Date.UTC(2024, 9, 9) + 1_000 * 20_000
  t.equal(nextCursor(undefined, now, Math.random), '1000')
  t.equal(nextCursor('999', now, Math.random), '1000')
  t.equal(
    nextCursor('1000', now, () => 0),
    '1001',
  )
  t.equal(
    nextCursor('1000', now, () => 0.9999),
    '1180',
  )
  t.equal(
    nextCursor('5000', now, () => 0),
    '5001',
  )
  for (const hostile of ['', 'x', '-1', '1e9', '9'.repeat(30)])
    t.equal(nextCursor(hostile, now, Math.random), '1000')
})

/** A hub with one channel, which sends what a test makes up. */
function fakeHub() {
  let reader: Reader
  let offset = 0
  const hub = {
    async subscribe(who: Reader, _key: string, _from: unknown, accepted: (start: Position) => void) {
      reader = who
      accepted({ epoch: 'e', offset })
    },
    unsubscribe() {},
    isCurrent: () => true,
  } as unknown as Hub
  return {
    hub,
    send: (data: string) => reader.send(encodeFrame(['m', 'a:b', 'n', offset + 1, offset++], data)),
    room: () => reader.room(),
  }
}

t.test('a poll that is over answers with what has come, and skips nothing', async (t) => {
  for (const why of ['its time', 'the server']) {
    const { hub, send } = fakeHub()
    const clock = createFakeClock()
    const poll = createChannelPoll({
      hub,
      clock,
      key: 'a:b',
      userId: null,
      waitMs: 1_000,
      roomBytes: 1_000,
      // The turn has not ended yet.
      schedule: () => {},
      messages: new MessageCache(),
    })
    const polled = poll.wait({ epoch: 'e', offset: 0 })
    await clock.settle()
    send('7')
    if (why === 'its time') await clock.advance(1_000)
    else poll.end(new EverwireError('server-closing', 'the server is closing'))
    const { messages, next } = await polled
    t.strictSame([messages.length, next], [1, positionToken({ epoch: 'e', offset: 1 })], why)
  }
})

t.test('a stream takes more as soon as there is room, however little that is', async (t) => {
  const { hub, send, room } = fakeHub()
  const clock = createFakeClock()
  const writes: (() => void)[] = []
  const response = new Writable({
    highWaterMark: 16_384,
    write: (_chunk, _encoding, done) => void writes.push(done),
  })
  const raw = Object.assign(response, { writeHead() {} })
  const stream = createChannelStream({
    reply: { raw, hijack() {}, getHeaders: () => ({}) } as unknown as FastifyReply,
    format: nativeEvents(''),
    hub,
    clock,
    key: 'a:b',
    userId: null,
    heartbeatMs: 1_000,
    lifetimeMs: 1_000,
    streamBytes: 8_000,
    missed: false,
    closed() {},
    schedule: (flush) => flush(),
    messages: new MessageCache(),
  })
  await stream.open(undefined)
  send(JSON.stringify('x'.repeat(5_000)))
  let hasRoom = false
  void room().then(() => (hasRoom = true))
  await clock.settle()
  t.notOk(hasRoom)
  for (let done = writes.shift(); done; done = writes.shift()) {
    done()
    await clock.settle()
  }
  t.ok(hasRoom)
  stream.end(0, new EverwireError('server-closing', 'over'))
})
