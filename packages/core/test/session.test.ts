import { test } from 'tap'
import { createLinkPair } from '../../testkit/src/link-pair.js'
import {
  createOutbox,
  createOwnerSession,
  createSession,
  encodeFrame,
  judgeAttach,
  type EncodedFrame,
  type ErrorCode,
  type Frame,
  type Link,
  type Outbox,
  type OwnerSessionOptions,
  type Session,
  type SessionHandler,
} from '../src/index.js'

const frame = (text: string, channel?: string) => encodeFrame(['pub', 'a:b', 'e'], text, { channel })

/** A session whose turns end when the test says so, and what its application hears. */
function createEnd<Own extends Session>(
  create: (options: OwnerSessionOptions, handler: SessionHandler) => Own,
  options: OwnerSessionOptions = {},
) {
  const heard: [number, unknown][] = []
  const ends: [ErrorCode, string][] = []
  let flushes: (() => void)[] = []
  const session = create(
    { schedule: (flush) => flushes.push(flush), ...options },
    {
      frame: ({ data }, number) => heard.push([number, data]),
      ended: (code, reason) => ends.push([code, reason]),
    },
  )
  const turn = () => {
    const now = flushes
    flushes = []
    for (const flush of now) flush()
  }
  return { session, heard, ends, turn }
}
const createOwner = (options?: OwnerSessionOptions) => createEnd(createOwnerSession, options)
const createClient = (options?: OwnerSessionOptions) => createEnd(createSession, options)

/** A link that takes `room` batches, then is blocked. */
function createSink(room = Infinity) {
  const sent: EncodedFrame[] = []
  const closed: string[] = []
  const link: Link = {
    transport: 'sink',
    bufferedBytes: 0,
    send(frames) {
      sent.push(...frames)
      return --room > 0
    },
    close: (code) => closed.push(code),
  }
  return {
    link,
    sent,
    closed,
    heads: () => sent.map(({ head, data }) => (data as string | undefined) ?? head),
  }
}

const kept = ({ outbox }: { outbox: Outbox }) => outbox.sent - outbox.base + 1

const start = { receiveFrom: 1, sendFrom: 1 }

test('two sessions talk over a link, and go on over the next one', async (t) => {
  const client = createClient({ schedule: queueMicrotask })
  const owner = createOwner({ schedule: queueMicrotask })
  const join = () => {
    const pair = createLinkPair()
    const listen = (end: { session: Session }, link: Link & { listen: typeof pair.client.listen }) =>
      link.listen({
        receive: (frame) => end.session.receive(link, frame),
        drained: () => end.session.drained(link),
        closed: () => end.session.unbind(link),
      })
    listen(client, pair.client)
    listen(owner, pair.server)
    const cursors = [client.session.received, owner.session.received] as const
    client.session.bind(pair.client, { receiveFrom: cursors[0] + 1, sendFrom: cursors[1] + 1 })
    owner.session.bind(pair.server, { receiveFrom: cursors[1] + 1, sendFrom: cursors[0] + 1 })
    return pair
  }
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve))
  const first = join()
  owner.session.send(frame('1'))
  client.session.send(frame('one'))
  await settle()
  t.strictSame([client.heard, owner.heard], [[[1, '1']], [[1, 'one']]])
  first.down.hold()
  owner.session.send(frame('2'))
  await settle()
  first.cut()
  await settle()
  t.equal(owner.session.link, undefined)
  owner.session.send(frame('3'))
  join()
  await settle()
  t.strictSame(client.heard, [
    [1, '1'],
    [2, '2'],
    [3, '3'],
  ])
  owner.session.ping()
  await settle()
  t.strictSame([owner.session.acked, kept(owner.session), owner.session.outbox.bytes], [3, 0, 0])
})

test('what is received is confirmed after so many frames, or so many bytes', (t) => {
  const few = createOwner({ ackFrames: 3 })
  const sink = createSink()
  few.session.bind(sink.link, start)
  for (let i = 0; i < 7; i++) few.session.receive(sink.link, { header: ['pub', 'a:b', 'e'], data: '1' })
  t.strictSame(sink.heads(), ['["seen",3]', '["seen",6]'])

  // Else a full outbox would wait for a ping, though everything has come.
  const large = createOwner({ ackBytes: 1_000 })
  const other = createSink()
  large.session.bind(other.link, start)
  for (let i = 0; i < 4; i++)
    large.session.receive(other.link, { header: ['pub', 'a:b', 'e'], data: 'x'.repeat(600) })
  t.strictSame(other.heads(), ['["seen",2]', '["seen",4]'])
  t.end()
})

test('a miscount is never passed over in silence', (t) => {
  const lossy = createOwner()
  const sink = createSink()
  lossy.session.bind(sink.link, start)
  lossy.session.receive(sink.link, { header: ['void', 2] })
  lossy.session.receive(sink.link, { header: ['ping', 3] })
  t.match(lossy.ends, [['numbering', /2 where 3 was due/]])
  t.match(sink.heads(), [/^\["close","numbering"/])
  t.strictSame(sink.closed, ['numbering'])
  lossy.session.receive(sink.link, { header: ['pub', 'a:b', 'e'], data: 'late' })
  lossy.session.acknowledge(1)
  lossy.session.end('closed')
  t.equal(lossy.ends.length, 1, 'ended once')
  t.strictSame(lossy.heard, [])
  t.throws(() => lossy.session.send(frame('x')), { code: 'closed' })

  const ahead = createOwner()
  const next = createSink()
  ahead.session.bind(next.link, { receiveFrom: 5, sendFrom: 1 })
  ahead.session.receive(next.link, { header: ['pub', 'a:b', 'e'], data: 'x' })
  t.match(ahead.ends, [['numbering', /5 where 1 was due/]])

  const liar = createOwner()
  const last = createSink()
  liar.session.bind(last.link, start)
  liar.session.send(frame('1'))
  liar.turn()
  liar.session.receive(last.link, { header: ['seen', 2] })
  t.match(liar.ends, [['numbering', /2 where 1 was due/]])
  t.end()
})

test('a full outbox gives up what was written, and ends a session that writes nothing', (t) => {
  const { session, ends, turn } = createOwner({ outboxFrames: 3 })
  const sink = createSink()
  session.bind(sink.link, start)
  for (const text of ['1', '2', '3', '4']) {
    session.send(frame(text))
    turn()
  }
  t.strictSame([session.outbox.base, kept(session), session.sent], [2, 3, 4])
  session.unbind(sink.link)
  session.send(frame('5'))
  session.send(frame('6'))
  session.send(frame('7'))
  t.strictSame(
    [session.outbox.base, session.ended],
    [5, false],
    'without a link, what some link took is given up',
  )
  session.send(frame('8'))
  t.match(ends, [['slow-consumer', /3 frames wait/]])
  t.end()
})

test('what a link has yet to replay is not given up', (t) => {
  const { session, ends, turn } = createOwner({ outboxFrames: 3, outboxBytes: 10_000_000 })
  const large = (text: string) => frame(JSON.stringify(text.repeat(70_000)))
  const first = createSink()
  session.bind(first.link, start)
  for (const text of ['1', '2', '3']) session.send(large(text))
  turn()
  t.equal(session.unwritten(), 0)
  const second = createSink(1)
  session.bind(second.link, start)
  t.equal(session.unwritten(), 2, 'one batch, then it is blocked')
  session.send(large('4'))
  t.strictSame([session.outbox.base, session.ended], [2, false], 'the one that this link has taken may go')
  session.send(large('5'))
  t.match(ends, [['slow-consumer']], 'the next may not, though an earlier link has taken it')
  t.end()
})

test('what is confirmed over another way while a link replays is not replayed, and its numbers are filled', (t) => {
  const { session } = createOwner()
  const first = createSink()
  session.bind(first.link, start)
  for (const text of ['1', '2', '3', '4']) session.send(frame(text))
  session.ping()
  session.unbind(first.link)
  session.acknowledge(3)
  const second = createSink()
  session.bind(second.link, start)
  t.strictSame(second.heads(), ['["void",3]', '4'])
  t.end()
})

test('an attach that was overtaken by a confirmation is not lost', (t) => {
  const { session } = createOwner()
  const sink = createSink()
  session.bind(sink.link, start)
  for (const text of ['1', '2', '3']) session.send(frame(text))
  session.ping()
  session.acknowledge(2)
  const state = { gen: 1, place: 'p', poll: 0 }
  const judge = (attach: object) =>
    judgeAttach(session, state, { gen: 2, place: 'q', poll: 0, cursor: 0, acked: 0, ...attach })
  t.equal(judge({}), 'accept')
  t.equal(judge({ cursor: 3 }), 'accept')
  t.equal(judge({ cursor: 4 }), 'lost', 'received more than was sent')
  t.equal(judge({ acked: 1 }), 'lost', 'knows more applied than was applied')
  t.equal(judge({ gen: 1 }), 'stale', 'the same number from elsewhere')
  t.equal(judge({ gen: 1, place: 'p' }), 'repeat')
  t.equal(judge({ gen: 0, cursor: 99 }), 'stale', 'an older attempt is never lost')
  t.end()
})

test('a blocked link gets nothing until it has drained', (t) => {
  const { session, turn } = createOwner()
  const sink = createSink(1)
  session.bind(sink.link, start)
  session.send(frame('1'))
  turn()
  session.send(frame('2'))
  turn()
  t.strictSame([sink.heads(), session.unwritten()], [['1'], 1])
  session.drained(createSink().link)
  t.equal(session.unwritten(), 1, 'another link says nothing about this one')
  session.drained(sink.link)
  t.strictSame(sink.heads(), ['1', '2'])
  t.end()
})

test('a pong goes out with the batch where every link takes one batch only', (t) => {
  const { session, turn } = createOwner()
  const first = createSink(1)
  session.bind(first.link, start)
  session.send(frame('one'))
  turn()
  session.receive(first.link, { header: ['ping', 0] })
  t.notMatch(first.heads(), ['pong'], 'a full link is not filled by asking')
  session.unbind(first.link)
  session.send(frame('two'))
  turn()
  const second = createSink(1)
  session.bind(second.link, { receiveFrom: 1, sendFrom: 2 })
  t.strictSame(second.heads(), ['two', encodeFrame(['pong', 0]).head])
  session.receive(second.link, { header: ['ping', 0] })
  session.drained(second.link)
  t.strictSame(second.heads().slice(2), [encodeFrame(['pong', 0]).head], 'one for each ping')
  t.end()
})

test('what was not written can be taken back, and what may not be read any more is void', (t) => {
  const { session, turn } = createOwner()
  session.send(frame('1', 'secret:1'))
  session.send(frame('2'))
  session.send(frame('3', 'secret:1'))
  t.equal(session.withdraw(2), true)
  const sink = createSink()
  session.bind(sink.link, start)
  t.equal(session.withdraw(1), false, 'it was written')
  t.strictSame(sink.heads(), ['1', '["void",1]', '3'])
  session.eraseWhere(({ channel }) => channel === 'secret:1')
  const next = createSink()
  session.bind(next.link, start)
  t.strictSame(next.heads(), ['["void",1]', '["void",1]', '["void",1]'])
  session.send(frame('4'))
  turn()
  t.equal(next.heads().at(-1), '4')
  t.end()
})

test('the queue of a session that refuses has a code for being full', (t) => {
  const { session } = createClient({ outboxFrames: 2 })
  session.send(frame('1'))
  session.send(frame('2'))
  t.throws(() => session.send(frame('3')), { code: 'queue-full' })
  const sink = createSink()
  session.bind(sink.link, start)
  session.acknowledge(1)
  t.equal(session.send(frame('3')), 3)
  t.end()
})

test('frames that come numbered are taken once, in order, up to a hole', (t) => {
  const { session, heard } = createOwner()
  const frames = (...texts: string[]): Frame[] => texts.map((data) => ({ header: ['pub', 'a:b', 'e'], data }))
  t.equal(session.apply(1, frames('1', '2')), 2)
  t.equal(session.apply(1, frames('1', '2', '3')), 3)
  t.equal(session.apply(5, frames('5')), 3)
  t.equal(session.apply(4, [...frames('4'), { header: ['void', 2] }, ...frames('7')]), 7)
  t.equal(session.apply(1, []), 7)
  t.strictSame(heard, [
    [1, '1'],
    [2, '2'],
    [3, '3'],
    [4, '4'],
    [7, '7'],
  ])
  t.end()
})

test('a session that ends while it hears a frame hears no other', (t) => {
  const heard: number[] = []
  const session = createOwnerSession(
    {},
    {
      frame(_, number) {
        heard.push(number)
        session.end('closed')
      },
      ended() {},
    },
  )
  session.apply(1, [{ header: ['reply', 1] }, { header: ['reply', 2] }])
  t.strictSame(heard, [1])
  t.end()
})

test('a session that has ended takes no link, and closes it', (t) => {
  const { session } = createOwner()
  session.send(frame('1'))
  session.end('closed')
  const sink = createSink()
  session.bind(sink.link, start)
  t.strictSame([sink.heads(), sink.closed, session.link], [[], ['closed'], undefined])
  t.end()
})

test('an outbox keeps its bounds, and one frame of any size', (t) => {
  const outbox = createOutbox({ frames: 2, bytes: 100 })
  t.ok(outbox.fits(1_000_000))
  t.equal(outbox.push(frame('x'.repeat(60))), 1)
  t.notOk(outbox.fits(100))
  outbox.push(frame('y'))
  t.notOk(outbox.fits(1), 'frames')
  outbox.drop(1)
  t.strictSame([outbox.base, outbox.sent, kept({ outbox })], [2, 2, 1])
  outbox.drop(1)
  t.equal(outbox.base, 2, 'given up and then confirmed')
  t.equal(outbox.erase(1), false)
  t.equal(outbox.erase(2), true)
  t.equal(outbox.bytes, 10)
  outbox.drop(2)
  outbox.drop(3)
  t.strictSame([outbox.base, kept({ outbox }), outbox.bytes], [3, 0, 0], 'there is nothing more to forget')
  t.end()
})

test('an outbox counts right over many frames', (t) => {
  const outbox = createOutbox({ frames: 1_000, bytes: 1_000_000 })
  for (let n = 1; n <= 5_000; n++) {
    t.equal(outbox.push(frame(String(n))), n)
    if (n % 7 === 0) outbox.drop(n - 5)
  }
  t.equal(
    outbox
      .slice(4_996, 100, 1_000_000)
      .map(({ data }) => data)
      .join(),
    '4996,4997,4998,4999,5000',
  )
  t.equal(outbox.slice(4_996, 2, 1_000_000).length, 2)
  t.equal(outbox.slice(4_996, 100, 1).length, 1, 'at least one')
  t.end()
})

test('what was sent in this turn is written before an end that is asked to, as far as the link takes it', (t) => {
  const owner = createOwner()
  const { link, closed, heads } = createSink(2)
  owner.session.bind(link, start)
  owner.session.send(frame('1'))
  owner.session.flush()
  owner.session.send(frame('2'))
  owner.session.flush()
  t.strictSame(heads(), ['1', '2'])
  owner.session.send(frame('3'))
  owner.session.flush()
  owner.session.end('closed')
  t.strictSame(heads(), ['1', '2', '["close","closed",""]'], 'a link that is blocked is not waited for')
  t.strictSame(closed, ['closed'])
  owner.turn()
  owner.session.flush()
  t.equal(heads().length, 3)
  t.end()
})
