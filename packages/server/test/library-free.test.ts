import { once } from 'node:events'
import { connect } from 'node:net'
import type { Bus, StoredListener } from '@everwire/core'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { memoryBus } from '../src/index.js'
import { readAll, serverKey, startHttpNode, type HttpNode } from './http-node.js'

const range = (from: number, to: number) =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)
const ann = { authorization: 'Bearer ann' }
const server = { authorization: `Bearer ${serverKey}` }
const events = { accept: 'text/event-stream' }

type Message = { offset?: string; event: string; data?: unknown; binary?: string; userId?: string }
const messages = (json: unknown) => json as Message[]
const values = (json: unknown) => messages(json).map(({ data }) => data)
const valuesOf = (list: { data: string }[]) => list.map(({ data }) => (JSON.parse(data) as Message).data)

async function publishAll({ app }: HttpNode, channel: string, numbers: number[]): Promise<void> {
  for (const n of numbers) await app.everwire.publish(channel, 'n', n)
}

async function startWithChannels(t: Parameters<typeof startHttpNode>[0], options = {}): Promise<HttpNode> {
  const node = await startHttpNode(t, options)
  node.app.everwire.channel('open:*', { history: { size: 1_000 }, public: true })
  node.app.everwire.channel('short:*', { history: { size: 3 }, public: true })
  node.app.everwire.channel('room:*', {
    history: {},
    subscribe: ({ userId }, channel) => channel.endsWith(userId!),
    publish: ({ userId }, _channel, { data }) => userId === 'ann' && data !== 'forbidden',
    showPublisher: true,
  })
  node.app.everwire.channel('live:*', { subscribe: true, publish: true })
  return node
}

t.test('a page', async (t) => {
  t.test('has the messages, where to go on, and whether that was all', async (t) => {
    const node = await startWithChannels(t, { chunkSize: 3 })
    await node.app.everwire.publish('other:1', 'n').catch(() => {})
    await publishAll(node, 'open:a', range(1, 5))
    const first = await node.get('/channels/open:a?offset=-1')
    t.equal(first.status, 200)
    t.equal(first.headers.get('content-type'), 'application/json; charset=utf-8')
    t.equal(first.headers.get('x-content-type-options'), 'nosniff')
    t.equal(first.headers.get('vary'), 'Accept')
    t.strictSame(values(first.json), [1, 2, 3])
    t.strictSame(Object.keys(messages(first.json)[0]!), ['offset', 'event', 'data'])
    t.notOk(first.headers.has('stream-up-to-date'))
    const next = first.headers.get('stream-next-offset')!
    t.equal(next, messages(first.json)[2]!.offset)
    const second = await node.get(`/channels/open:a?offset=${next}`)
    t.strictSame(values(second.json), [4, 5])
    t.equal(second.headers.get('stream-up-to-date'), 'true')
    const end = second.headers.get('stream-next-offset')!
    const third = await node.get(`/channels/open:a?offset=${end}`)
    t.strictSame([third.status, third.json, third.headers.get('stream-next-offset')], [200, [], end])
    t.equal(third.headers.get('stream-up-to-date'), 'true')
    t.strictSame(
      (await node.get('/channels/open:a')).json,
      first.json,
      'without an offset from the beginning',
    )
    t.ok(end > next, 'offsets sort as text')
  })

  t.test('is bounded in bytes, but for one publication', async (t) => {
    const node = await startWithChannels(t, { chunkBytes: 200 })
    for (const size of [50, 50, 500, 50]) await node.app.everwire.publish('open:a', 'n', 'x'.repeat(size))
    const counts: number[] = []
    let offset = '-1'
    for (let upToDate = false; !upToDate;) {
      const { json, headers } = await node.get(`/channels/open:a?offset=${offset}`)
      counts.push(messages(json).length)
      offset = headers.get('stream-next-offset')!
      upToDate = headers.has('stream-up-to-date')
    }
    t.strictSame(counts, [1, 1, 1, 1])
  })

  t.test('from now on is empty, and names where that is', async (t) => {
    const node = await startWithChannels(t)
    await publishAll(node, 'open:a', [1])
    const now = await node.get('/channels/open:a?offset=now')
    t.strictSame([now.status, now.text, now.headers.get('stream-up-to-date')], [200, '[]', 'true'])
    t.equal(now.headers.get('cache-control'), 'no-store')
    t.notOk(now.headers.has('etag'))
    await publishAll(node, 'open:a', [2])
    const more = await node.get(`/channels/open:a?offset=${now.headers.get('stream-next-offset')}`)
    t.strictSame(values(more.json), [2])
  })

  t.test(
    'of a public channel may be cached: for ever what cannot change, for a moment what can',
    async (t) => {
      const node = await startWithChannels(t, { chunkSize: 2 })
      await publishAll(node, 'open:a', range(1, 5))
      const cache = async (offset: string) => {
        const { headers } = await node.get(`/channels/open:a?offset=${offset}`)
        return [headers.get('cache-control'), headers.get('stream-next-offset')!] as const
      }
      const [first, one] = await cache('-1')
      const [second, two] = await cache(one)
      const [third] = await cache(two)
      t.strictSame(
        [first, second, third],
        ['public, max-age=1', 'public, max-age=3600, immutable', 'public, max-age=1'],
      ) // never longer than the history
      const secret = await node.get('/channels/room:ann', ann)
      t.equal(secret.headers.get('cache-control'), 'no-store')
    },
  )

  t.test('that the client has already is not sent again', async (t) => {
    const node = await startWithChannels(t)
    await publishAll(node, 'open:a', [1, 2])
    const page = await node.get('/channels/open:a')
    const etag = page.headers.get('etag')!
    t.match(etag, /^"[\w~:-]+"$/)
    for (const known of [etag, `"x", W/${etag}`, '*']) {
      const again = await node.get('/channels/open:a', { 'if-none-match': known })
      t.strictSame([again.status, again.text, again.headers.get('etag')], [304, '', etag])
      t.equal(again.headers.get('stream-next-offset'), page.headers.get('stream-next-offset'))
    }
    await publishAll(node, 'open:a', [3])
    const changed = await node.get('/channels/open:a', { 'if-none-match': etag })
    t.strictSame([changed.status, values(changed.json)], [200, [1, 2, 3]])
  })

  t.test('after what is not kept any more is gone, and says where to go on', async (t) => {
    const node = await startWithChannels(t)
    await publishAll(node, 'short:a', [1, 2, 3])
    const first = (await node.get('/channels/short:a')).json
    await publishAll(node, 'short:a', [4, 5])
    t.strictSame(
      values((await node.get(`/channels/short:a?offset=${messages(first)[1]!.offset}`)).json),
      [3, 4, 5],
    )
    const gone = await node.get(`/channels/short:a?offset=${messages(first)[0]!.offset}`)
    const { code, reason, offset } = gone.json as Record<string, string>
    t.strictSame([gone.status, code, reason], [410, 'gone', 'expired'])
    t.equal(gone.headers.get('stream-next-offset'), offset)
    t.equal(gone.headers.get('cache-control'), 'no-store')
    t.strictSame(values((await node.get(`/channels/short:a?offset=${offset}`)).json), [3, 4, 5])

    const stranger = await node.get('/channels/short:a?offset=other_0000000000000001')
    t.strictSame([stranger.status, (stranger.json as Record<string, string>)['reason']], [410, 'epoch'])
    const ahead = await node.get(`/channels/short:a?offset=${offset!.split('_')[0]}_0000000000009999`)
    t.equal(ahead.status, 410, 'a position that was never reached')
    const polled = await node.get('/channels/short:a?live=long-poll&offset=other_0000000000000001')
    t.equal(polled.status, 410)
    const streamed = await node.get('/channels/short:a?live=sse&offset=other_0000000000000001')
    t.equal(streamed.status, 410)
  })

  t.test('of an empty channel is followed by what comes, whatever other channels store', async (t) => {
    const node = await startWithChannels(t, { bus: memoryBus({ partitions: 1 }) })
    const listening = await node.listen('/channels/open:a', events)
    await node.clock.settle()
    await publishAll(node, 'open:b', range(1, 20))
    const empty = await node.get('/channels/open:a')
    const offset = empty.headers.get('stream-next-offset')!
    t.strictSame(empty.json, [])
    const polled = node.get(`/channels/open:a?live=long-poll&offset=${offset}`)
    const streamed = await node.listen('/channels/open:a', { ...events, 'last-event-id': offset })
    await publishAll(node, 'open:a', [1])
    t.strictSame(valuesOf(await listening.take(1)), [1])
    t.strictSame(values((await polled).json), [1])
    t.strictSame(valuesOf(await streamed.take(1)), [1])
  })

  t.test('from the beginning jumps over nothing that is stored while an empty channel is read', async (t) => {
    const bus = memoryBus({ partitions: 1 })
    let reads = 0
    const racing: Bus = {
      ...bus,
      async read(channel, history, range) {
        const page = await bus.read(channel, history, range)
        if (++reads === 1) await bus.store(channel, history, { event: 'n', data: '1' })
        const { tail } = await bus.read(channel, history, range)
        return { ...page, tail }
      },
    }
    for (const query of ['?offset=-1', '?offset=-1&live=long-poll']) {
      reads = 0
      const node = await startWithChannels(t, { bus: racing })
      t.strictSame(values((await node.get(`/channels/open:${query.length}${query}`)).json), [1], query)
    }
    reads = 0
    const node = await startWithChannels(t, { bus: racing })
    const stream = await node.listen('/channels/open:a?offset=-1', events)
    t.strictSame(valuesOf(await stream.take(1)), [1])
  })

  t.test('a payload stays as it is, in whatever form', async (t) => {
    const node = await startWithChannels(t)
    const room = '/channels/room:ann'
    await node.post(`${room}?event=photo`, new Uint8Array([0, 255, 10]), {
      ...ann,
      'content-type': 'application/octet-stream',
    })
    await node.post(room, '{"big": 12345678901234567890,\r\n"text": "\\u2028\u2028"}', ann)
    await node.post(room, undefined, ann)
    const { text, json } = await node.get(room, ann)
    t.match(text, '{"big": 12345678901234567890,\r\n"text": "\\u2028\u2028"}')
    const [photo, , nothing] = messages(json)
    t.match(photo, { event: 'photo', binary: 'AP8K', userId: 'ann' })
    t.notOk('data' in nothing!)
    const stream = await node.listen(`${room}?offset=-1`, { ...ann, ...events })
    const [, second] = await stream.take(3)
    t.equal((JSON.parse(second!.data) as { data: { text: string } }).data.text, '\u2028\u2028')
  })

  t.test('HEAD names the newest and no more', async (t) => {
    const node = await startWithChannels(t)
    await publishAll(node, 'open:a', [1, 2])
    const response = await fetch(`${node.url}/channels/open:a`, { method: 'HEAD' })
    const now = await node.get('/channels/open:a?offset=now')
    t.equal(response.headers.get('stream-next-offset'), now.headers.get('stream-next-offset'))
    t.strictSame([response.status, response.headers.get('cache-control')], [200, 'no-store'])
    t.equal((await fetch(`${node.url}/channels/room:ann`, { method: 'HEAD' })).status, 401)
  })
})

t.test('a poll', async (t) => {
  t.test('answers with the first that comes, and the next goes on after it', async (t) => {
    const node = await startWithChannels(t)
    const now = (await node.get('/channels/open:a?offset=now')).headers.get('stream-next-offset')!
    const waiting = node.get(`/channels/open:a?live=long-poll&offset=${now}`)
    await node.clock.settle()
    await publishAll(node, 'open:a', [1])
    const first = await waiting
    t.strictSame([first.status, values(first.json)], [200, [1]])
    t.equal(first.headers.get('stream-up-to-date'), 'true')
    t.equal(first.headers.get('cache-control'), 'public, max-age=20')
    const cursor = first.headers.get('stream-cursor')!
    t.match(cursor, /^\d+$/)
    await publishAll(node, 'open:a', [2, 3])
    const offset = first.headers.get('stream-next-offset')!
    const second = await node.get(`/channels/open:a?live=long-poll&offset=${offset}&cursor=${cursor}`)
    t.strictSame(values(second.json), [2, 3])
    t.ok(Number(second.headers.get('stream-cursor')) > Number(cursor))
  })

  t.test('is held no longer than pollWaitMs', async (t) => {
    const node = await startWithChannels(t, { pollWaitMs: 5_000 })
    const waiting = node.get('/channels/open:a?live=long-poll&offset=now')
    await until(node, () => node.clock.pending > 1)
    await node.clock.advance(5_000)
    const { status, text, headers } = await waiting
    t.strictSame([status, text, headers.get('stream-up-to-date')], [204, '', 'true'])
    t.ok(headers.get('stream-next-offset'))
    t.ok(headers.get('stream-cursor'))
    t.equal(headers.get('cache-control'), 'no-store')
  })

  t.test('needs an offset, and live a known value', async (t) => {
    const node = await startWithChannels(t)
    for (const query of ['live=long-poll', 'live=sse', 'live=ws&offset=-1', 'live=&offset=-1'])
      t.equal((await node.get(`/channels/open:a?${query}`)).status, 400, query)
  })

  t.test('many polls one after the other skip nothing while publications flow', async (t) => {
    const node = await startWithChannels(t)
    const seen: unknown[] = []
    let offset = '-1'
    let sent = 0
    while (seen.length < 300) {
      const poll = node.get(`/channels/open:a?live=long-poll&offset=${offset}`)
      if (sent < 300) await publishAll(node, 'open:a', range(sent + 1, (sent += 10)))
      const { json, headers } = await poll
      seen.push(...values(json))
      offset = headers.get('stream-next-offset')!
    }
    t.strictSame(seen, range(1, 300))
  })
})

t.test('an event stream', async (t) => {
  t.test('names its position at once, and each publication its own', async (t) => {
    const node = await startWithChannels(t)
    await publishAll(node, 'open:a', [1])
    const stream = await node.listen('/channels/open:a', events)
    t.equal(stream.headers.get('content-type'), 'text/event-stream')
    t.equal(stream.headers.get('cache-control'), 'no-store, no-transform')
    t.equal(stream.headers.get('x-accel-buffering'), 'no')
    await publishAll(node, 'open:a', [2])
    const [event] = await stream.take(1)
    const message = JSON.parse(event!.data) as Message
    t.match(event, { type: 'message', id: message.offset! })
    t.strictSame([message.event, message.data], ['n', 2])
    t.ok(stream.retryMs! >= 1_000)
  })

  t.test('the id comes before any publication does', async (t) => {
    const node = await startWithChannels(t)
    const now = (await node.get('/channels/open:a?offset=now')).headers.get('stream-next-offset')!
    const socket = connect(node.port, '127.0.0.1')
    socket.write(`GET /everwire/channels/open:a HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`)
    let text = ''
    for await (const chunk of socket) if ((text += String(chunk)).includes(`id: ${now}\n\n`)) break
    t.match(text, new RegExp(`\r\n\r\n[0-9a-f]+\r\nretry: \\d+\n\nid: ${now}\n\n`))
    socket.destroy()
  })

  t.test('ends before proxies do, and is resumed on another node without a hole', async (t) => {
    const bus = memoryBus()
    const nodes = [await startWithChannels(t, { bus }), await startWithChannels(t, { bus })]
    await publishAll(nodes[0]!, 'open:a', range(1, 5))
    let id = ''
    const seen: unknown[] = []
    for (let turn = 0; turn < 6; turn++) {
      const node = nodes[turn % 2]!
      const path = `/channels/open:a?offset=-1`
      const stream = await node.listen(path, { ...events, ...(id === '' ? {} : { 'last-event-id': id }) })
      await publishAll(nodes[0]!, 'open:a', range(6 + turn * 10, 15 + turn * 10))
      const some = await stream.take(turn === 0 ? 12 : 8)
      seen.push(...valuesOf(some))
      id = some.at(-1)!.id
      if (turn % 2 === 0) {
        // What comes between the last that is taken and the end is in the stream too.
        await node.clock.advance(60_000)
        const rest = await stream.rest()
        seen.push(...valuesOf(rest))
        id = stream.lastEventId
        t.ok(stream.retryMs! <= 500, 'it is to come back soon')
      } else stream.close()
    }
    t.strictSame(seen, range(1, seen.length))
    t.ok(seen.length > 50)
  })

  t.test('is kept open by comments, and outlived by nothing', async (t) => {
    const node = await startWithChannels(t, { heartbeatMs: 10_000, streamMs: 60_000 })
    const idle = node.clock.pending
    const stream = await node.listen('/channels/open:a', events)
    await node.clock.advance(44_000)
    await node.clock.advance(16_000)
    t.strictSame(await stream.rest(), [])
    t.ok(stream.comments >= 3)
    await until(node, () => node.clock.pending === idle)
    t.equal(node.clock.pending, idle)
  })

  t.test('tells a gap where its position is not kept any more, and goes on', async (t) => {
    const node = await startWithChannels(t)
    await publishAll(node, 'short:a', [1, 2, 3])
    const first = messages((await node.get('/channels/short:a')).json)[0]!.offset!
    await publishAll(node, 'short:a', [4, 5, 6])
    const stream = await node.listen('/channels/short:a', { ...events, 'last-event-id': first })
    const [gap, ...rest] = await stream.take(4)
    t.equal(gap!.type, 'gap')
    const { reason, offset } = JSON.parse(gap!.data) as Record<string, string>
    t.strictSame([reason, offset], ['expired', gap!.id])
    t.strictSame(valuesOf(rest), [4, 5, 6])
    const other = await node.listen('/channels/short:a', {
      ...events,
      'last-event-id': 'old_0000000000000001',
    })
    await publishAll(node, 'short:a', [7])
    const [epoch, next] = await other.take(2)
    t.strictSame([epoch!.type, JSON.parse(epoch!.data).reason], ['gap', 'epoch'])
    t.strictSame(valuesOf([next!]), [7])
  })

  t.test('a gap in mid-stream is told; the draft has no word for it, so its stream ends there', async (t) => {
    const { bus, listeners } = spiedBus()
    const node = await startWithChannels(t, { bus })
    const native = await node.listen('/channels/open:a', events)
    const now = (await node.get('/channels/open:a?offset=now')).headers.get('stream-next-offset')!
    const draft = await node.listen(`/channels/open:a?live=sse&offset=${now}`)
    const [first] = await draft.take(1)
    t.equal(first!.type, 'control')
    const epoch = now.split('_')[0]!
    for (const listener of listeners) listener.gap('expired', { epoch, offset: 50 })
    for (const listener of listeners) listener.publication({ event: 'n', data: '7', offset: 51 })
    const [gap, next] = await native.take(2)
    t.strictSame(
      [gap!.type, gap!.id, JSON.parse(gap!.data).reason],
      ['gap', `${epoch}_0000000000000050`, 'expired'],
    )
    t.strictSame(valuesOf([next!]), [7])
    t.strictSame(
      (await draft.rest()).map(({ type }) => type),
      ['gap'],
    )
  })

  t.test('more than is sent again at a time ends the stream, and the next goes on there', async (t) => {
    const node = await startHttpNode(t, { ringSize: 5 })
    node.app.everwire.channel('open:*', { history: { size: 1_000 }, public: true, maxRecover: 100 })
    await publishAll(node, 'open:a', range(1, 350))
    const seen: unknown[] = []
    let id = '-1'
    for (let streams = 0; seen.length < 350 && streams < 10; streams++) {
      const stream = await node.listen(`/channels/open:a?offset=${id}`, events)
      const taken = seen.length < 300 ? await stream.rest() : await stream.take(350 - seen.length)
      seen.push(...valuesOf(taken))
      id = stream.lastEventId
    }
    t.strictSame(seen, range(1, 350))
  })

  t.test('as the draft has it: batches, each followed by where it ends', async (t) => {
    const node = await startWithChannels(t)
    await publishAll(node, 'open:a', [1, 2])
    // Clients of the draft may ask for event streams too: `live` decides.
    const stream = await node.listen('/channels/open:a?live=sse&offset=-1', events)
    const [data, control] = await stream.take(2)
    t.strictSame([data!.type, control!.type], ['data', 'control'])
    t.strictSame(values(JSON.parse(data!.data)), [1, 2])
    const { streamNextOffset, streamCursor, upToDate } = JSON.parse(control!.data) as Record<string, unknown>
    t.equal(streamNextOffset, messages(JSON.parse(data!.data))[1]!.offset)
    t.match(streamCursor, /^\d+$/)
    t.equal(upToDate, true)
    await publishAll(node, 'open:a', [3])
    const [more] = await stream.take(2)
    t.strictSame(values(JSON.parse(more!.data)), [3])
  })

  t.test('is ended for a slow reader, who finds the rest when it comes back', async (t) => {
    const node = await startWithChannels(t, { streamBytes: 65_536, ringSize: 10 })
    const socket = connect(node.port, '127.0.0.1')
    socket.pause()
    socket.write(
      'GET /everwire/channels/open:a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: text/event-stream\r\n\r\n',
    )
    const large = 'x'.repeat(20_000)
    let sent = 0
    const idle = node.clock.pending
    await until(node, () => node.clock.pending > idle)
    // Its own timers end with it; what remains is the one that destroys a connection that never drains.
    const open = node.clock.pending
    while (node.clock.pending >= open && sent < 900) {
      await node.app.everwire.publish('open:a', 'n', [++sent, large])
      await node.clock.settle()
    }
    t.ok(sent < 900, 'what waits for one reader is bounded')
    const text = await readAll(socket)
    const got = [...text.matchAll(/"data":\[(\d+),/g)].map(([, n]) => Number(n))
    t.strictSame(got, range(1, got.length))
    const id = [...text.matchAll(/^id: (\S+)$/gm)].at(-1)![1]!
    const again = await node.listen('/channels/open:a', { ...events, 'last-event-id': id })
    const rest = await again.take(sent - got.length)
    t.strictSame(
      valuesOf(rest).map((value) => (value as [number])[0]),
      range(got.length + 1, sent),
    )
  })

  t.test(
    'is refused for a time with 200 and a retry, because anything else stops an EventSource',
    async (t) => {
      const node = await startWithChannels(t, { maxStreams: 1 })
      const first = await node.listen('/channels/open:a', events)
      const second = await node.listen('/channels/open:a', events)
      t.equal(second.status, 200)
      const [refusal] = await second.rest()
      t.match(refusal, { type: 'refuse', data: /too-many-streams/, id: '' })
      t.ok(second.retryMs! >= 2_000)
      const draft = await node.get('/channels/open:a?live=sse&offset=-1')
      t.strictSame([draft.status, (draft.json as { code: string }).code], [503, 'too-many-streams'])
      t.ok(Number(draft.headers.get('retry-after')) > 0)
      t.equal((await node.get('/channels/open:a?live=long-poll&offset=-1')).status, 503)
      t.equal((await node.get('/channels/open:a')).status, 200, 'a page holds nothing')
      const open = node.clock.pending
      first.close()
      await until(node, () => node.clock.pending < open)
      const third = await node.listen('/channels/open:a', events)
      await publishAll(node, 'open:a', [1])
      t.strictSame(valuesOf(await third.take(1)), [1])
    },
  )

  t.test('ends politely when the server closes', async (t) => {
    const node = await startWithChannels(t)
    const native = await node.listen('/channels/open:a', events)
    const draft = await node.listen('/channels/open:a?live=sse&offset=-1')
    const poll = node.get('/channels/open:a?live=long-poll&offset=now')
    await until(node, () => node.clock.pending >= 6)
    const closing = node.app.close()
    t.strictSame(await native.rest(), [])
    t.ok(native.retryMs! >= 500)
    t.strictSame(
      (await draft.rest()).map(({ type }) => type),
      ['control'],
    )
    t.equal((await poll).status, 204)
    await closing
  })

  t.test('ends when the token does, and a hook may end it', async (t) => {
    let end = () => {}
    const node = await startHttpNode(t, {
      authenticate: ({ token }) => ({ userId: token!, expiresAt: Date.now() + 20_000 }),
    })
    node.app.everwire.channel('room:*', {
      history: {},
      subscribe: (session) => {
        end = () => session.end()
        return true
      },
    })
    const one = await node.listen('/channels/room:a', { ...events, ...ann })
    await node.clock.advance(20_000)
    t.strictSame(await one.rest(), [])
    const two = await node.listen('/channels/room:a', { ...events, ...ann })
    end()
    t.strictSame(await two.rest(), [])
  })

  t.test('a hook may end its reader while the start is read', async (t) => {
    const bus = memoryBus()
    let end = () => {}
    const node = await startHttpNode(t, {
      bus: {
        ...bus,
        async read(...args) {
          const page = await bus.read(...args)
          end()
          return page
        },
      },
    })
    node.app.everwire.channel('room:*', {
      history: {},
      subscribe: (session) => {
        end = () => session.end('forbidden', 'not any more')
        return true
      },
    })
    await node.app.everwire.publish('room:a', 'n', 1)
    const idle = node.clock.pending
    const refusal = [403, { code: 'forbidden', message: /not any more/ }]
    for (const query of ['', '?offset=now', '?live=long-poll&offset=-1', '?live=sse&offset=-1']) {
      const { status, json } = await node.get(`/channels/room:a${query}`, ann)
      t.match([status, json], refusal, query)
    }
    const native = await node.get('/channels/room:a?offset=-1', { ...ann, ...events })
    t.match([native.status, native.json], refusal)
    const head = await fetch(`${node.url}/channels/room:a`, { method: 'HEAD', headers: ann })
    t.equal(head.status, 403)
    t.equal(node.clock.pending, idle)
  })

  t.test('a hook that ends who asks refuses it, whatever it asks for', async (t) => {
    const node = await startHttpNode(t)
    node.app.everwire.channel('room:*', {
      history: {},
      subscribe: (session) => {
        session.end('forbidden', 'not you')
        return true
      },
      publish: (session) => {
        session.end('forbidden', 'not you')
        return true
      },
    })
    const head = await fetch(`${node.url}/channels/room:a`, { method: 'HEAD', headers: ann })
    t.equal(head.status, 403)
    t.equal((await node.get('/channels/room:a', ann)).status, 403)
    const posted = await node.post('/channels/room:a', '1', ann)
    t.match([posted.status, posted.json], [403, { code: 'forbidden', message: /not you/ }])
  })
})

t.test('a channel without history', async (t) => {
  t.test('is read from now on only', async (t) => {
    const node = await startWithChannels(t)
    for (const query of ['', '?offset=-1', '?offset=-1&live=long-poll', '?offset=-1&live=sse']) {
      const { status, json } = await node.get(`/channels/live:a${query}`, ann)
      t.strictSame([status, (json as { code: string }).code], [409, 'no-history'], query)
    }
    const now = await node.get('/channels/live:a?offset=now', ann)
    t.strictSame([now.status, now.json, now.headers.get('stream-next-offset')], [200, [], 'live'])
    t.notOk(now.headers.has('everwire-gap'))
    const stranger = await node.get('/channels/live:a?offset=abc_0000000000000001', ann)
    t.equal(stranger.status, 410)
    const poll = node.get('/channels/live:a?offset=now&live=long-poll', ann)
    const stream = await node.listen('/channels/live:a', { ...events, ...ann })
    await until(node, () => node.clock.pending >= 4)
    const posted = await node.post('/channels/live:a', '"hi"', ann)
    t.strictSame([posted.status, posted.json], [202, {}])
    const { json, headers } = await poll
    t.strictSame(json, [{ event: 'message', data: 'hi' }])
    t.strictSame([headers.get('stream-next-offset'), headers.get('cache-control')], ['live', 'no-store'])
    t.strictSame(valuesOf(await stream.take(1)), ['hi'])
    t.equal(stream.lastEventId, 'live')
  })

  t.test('says that something may be missing to whom comes again', async (t) => {
    const node = await startWithChannels(t)
    const again = await node.listen('/channels/live:a', { ...events, ...ann, 'last-event-id': 'live' })
    const [gap] = await again.take(1)
    t.strictSame([gap!.type, JSON.parse(gap!.data)], ['gap', { reason: 'session', offset: 'live' }])
    t.equal(again.headers.get('everwire-gap'), 'session')
    const page = await node.get('/channels/live:a?offset=live', ann)
    t.equal(page.headers.get('everwire-gap'), 'session')
  })
})

t.test('who may read', async (t) => {
  t.test('is asked as sessions are asked, but for public channels', async (t) => {
    const node = await startWithChannels(t)
    const codes = async (path: string, headers = {}) => {
      const { status, json } = await node.get(path, headers)
      return [status, (json as { code?: string })?.code]
    }
    t.strictSame(await codes('/channels/open:a'), [200, undefined])
    t.strictSame(await codes('/channels/room:ann'), [401, 'unauthorized'])
    t.strictSame(await codes('/channels/nothing:a'), [401, 'unauthorized'], 'nobody learns what there is')
    t.strictSame(await codes('/channels/nothing:a', ann), [404, 'unknown-channel'])
    t.strictSame(await codes('/channels/room:ann', ann), [200, undefined])
    t.strictSame(await codes('/channels/room:bob', ann), [403, 'forbidden'])
    t.strictSame(await codes('/channels/@me', ann), [409, 'no-history'])
    t.strictSame(
      await codes('/channels/room:ann', server),
      [403, 'forbidden'],
      'a key of the server only publishes',
    )
    const { headers } = await node.get('/channels/room:ann')
    t.equal(headers.get('www-authenticate'), 'Bearer')
    t.equal(headers.get('cache-control'), 'no-store')
  })

  t.test('a token that has expired says so', async (t) => {
    const node = await startHttpNode(t, {
      authenticate: () => ({ userId: 'ann', expiresAt: Date.now() - 1 }),
    })
    node.app.everwire.channel('room:*', { history: {}, subscribe: true })
    const { status, json } = await node.get('/channels/room:a', ann)
    t.match([status, json], [401, { code: 'token-expired' }])
  })

  t.test('a cookie serves, which the hook looks at', async (t) => {
    const node = await startHttpNode(t, {
      authenticate: ({ token, request, transport }) => {
        t.strictSame([token, transport], [undefined, 'http'])
        const { cookie } = (request as { headers: { cookie?: string } }).headers
        return cookie === 'user=ann' ? { userId: 'ann' } : null
      },
    })
    node.app.everwire.channel('room:*', { history: {}, subscribe: true })
    t.equal((await node.get('/channels/room:a', { cookie: 'user=ann' })).status, 200)
    t.equal((await node.get('/channels/room:a')).status, 401)
  })

  t.test('pages of other origins are refused, in every way to read', async (t) => {
    const node = await startWithChannels(t, { origins: ['https://app.example.com'] })
    const evil = { origin: 'https://evil.example.com' }
    for (const query of ['', '?live=long-poll&offset=-1', '?live=sse&offset=-1']) {
      const { status, json } = await node.get(`/channels/open:a${query}`, evil)
      t.match([status, json], [403, { code: 'origin-refused' }])
    }
    t.equal((await node.get('/channels/open:a', { ...evil, ...events })).status, 403)
    t.equal((await node.post('/channels/room:ann', '1', { ...evil, ...ann })).status, 403)
    const own = await node.get('/channels/open:a', { origin: 'https://app.example.com' })
    t.equal(own.status, 200)
    t.equal(own.headers.get('access-control-allow-origin'), 'https://app.example.com')
    t.match(own.headers.get('access-control-expose-headers'), /stream-next-offset/)
    t.match(own.headers.get('vary'), /Origin.*Accept/)
  })

  t.test('public and a subscribe hook contradict each other', async (t) => {
    const node = await startWithChannels(t)
    t.throws(
      () => node.app.everwire.channel('x:*', { public: true, subscribe: () => true }),
      /leave subscribe away/,
    )
  })
})

t.test('publishing', async (t) => {
  t.test('answers with the position, once for each key', async (t) => {
    const node = await startWithChannels(t)
    const post = (id: string, headers: Record<string, string> = ann) =>
      node.post('/channels/room:ann?event=note', '{"n":1}', { ...headers, 'idempotency-key': id })
    const first = await post('one')
    t.equal(first.status, 200)
    t.strictSame(first.json, { offset: first.headers.get('stream-next-offset') })
    t.strictSame((await post('one')).json, first.json, 'a repeat')
    const others = [await post('two'), await post('one', server)]
    const offsets = new Set([first, ...others].map(({ headers }) => headers.get('stream-next-offset')))
    t.equal(offsets.size, 3, 'another key, or another publisher')
    const { json } = await node.get('/channels/room:ann', ann)
    t.strictSame(
      messages(json).map(({ event, userId }) => [event, userId]),
      [
        ['note', 'ann'],
        ['note', 'ann'],
        ['note', undefined],
      ],
    )
    t.equal((await node.post('/channels/room:ann', '{}', ann)).status, 200, 'without one it is at least once')
  })

  t.test('is refused by code', async (t) => {
    const node = await startWithChannels(t, { frameBytes: 4_096 })
    const codes = async (path: string, body: string | undefined, headers: Record<string, string>) => {
      const { status, json } = await node.post(path, body, headers)
      return [status, (json as { code?: string })?.code]
    }
    const room = '/channels/room:ann'
    t.strictSame(await codes(room, '1', {}), [401, 'unauthorized'])
    t.strictSame(await codes(room, '1', { authorization: 'Bearer bob' }), [403, 'forbidden'])
    t.strictSame(await codes(room, '"forbidden"', ann), [403, 'forbidden'])
    t.strictSame(await codes('/channels/open:a', '1', {}), [401, 'unauthorized'], 'public is for reading')
    t.strictSame(await codes('/channels/nothing:a', '1', ann), [404, 'unknown-channel'])
    for (const body of ['{', '{"a":1}x', '\u{feff}1', "{'a':1}"])
      t.strictSame(await codes(room, body, ann), [400, 'bad-payload'], body)
    t.strictSame(await codes(room, '"x"'.padEnd(4_000), ann), [413, 'frame-too-large'])
    t.strictSame(await codes(`${room}?event=`, '1', ann), [400, 'bad-payload'])
    t.strictSame(await codes(`${room}?event=${'x'.repeat(101)}`, '1', ann), [400, 'bad-payload'])
    t.strictSame(await codes(room, '1', { ...ann, 'idempotency-key': 'x'.repeat(101) }), [400, 'bad-payload'])
    t.strictSame(await codes(`${room}?token=ann`, '1', {}), [400, 'token-in-url'])
  })

  t.test('no form can do it with the cookie of who looks at it', async (t) => {
    const node = await startHttpNode(t, { authenticate: () => ({ userId: 'ann' }) })
    node.app.everwire.channel('room:*', { history: {}, subscribe: true, publish: true })
    for (const type of [
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'text/plain',
      'text/json',
      '',
    ])
      for (const path of ['/channels/room:a', '/tickets', '/users/ann']) {
        const answer = await node.raw(
          `POST /everwire${path} HTTP/1.1\r\nHost: x\r\nCookie: user=ann\r\nConnection: close\r\n${type && `Content-Type: ${type}\r\n`}Content-Length: 7\r\n\r\n{"a":1}`,
        )
        t.match(answer, /^HTTP\/1\.1 415 /, `${path} ${type}`)
        t.match(answer, '"code":"content-type-refused"')
      }
    const empty = await node.raw(
      'POST /everwire/channels/room:a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n',
    )
    t.match(empty, /^HTTP\/1\.1 415 /)
    t.strictSame((await node.get('/channels/room:a')).json, [])
  })

  t.test('a key of the server publishes anywhere, also to one user', async (t) => {
    const node = await startWithChannels(t)
    t.equal((await node.post('/channels/open:a', '"as the server"', server)).status, 200)
    t.equal((await node.post('/channels/room:ann', '"forbidden"', server)).status, 200, 'no hook is asked')
    t.equal((await node.post('/channels/nothing:a', '1', server)).status, 404)
    t.equal((await node.post('/channels/@me', '1', server)).status, 403)
    const own = await node.listen('/channels/@me', {
      ...events,
      authorization: 'Bearer a/b',
    })
    t.equal((await node.post('/users/a%2Fb', '"to you"', server)).status, 202)
    t.strictSame(valuesOf(await own.take(1)), ['to you'])
    t.equal((await node.post('/users/ann', '1', ann)).status, 401)
    t.equal(
      (await node.post('/users/ann', '1', { authorization: `Bearer ${serverKey.slice(1)}` })).status,
      401,
    )
    t.equal((await node.post('/users/', '1', server)).status, 400)
    t.notMatch(JSON.stringify(node.logs), serverKey)
  })

  t.test('short keys are refused at the start', async (t) => {
    for (const options of [{ serverKeys: ['short'] }, { ticketKey: 'short' }])
      await t.rejects(startHttpNode(t, options), /32 characters/)
  })

  t.test('keys that no Authorization header can carry are refused at the start', async (t) => {
    for (const wrong of ['$', ' ', 'é', ':'])
      await t.rejects(startHttpNode(t, { serverKeys: [serverKey, serverKey + wrong] }), {
        name: 'TypeError',
        message: /^(?!.*a-key-of).*\[\\w\.~\+\/=-\]/,
      })
    const key = 'AZaz09_.~+/=-'.repeat(3)
    const node = await startWithChannels(t, { serverKeys: [key] })
    const posted = await node.post('/channels/open:a', '1', { authorization: `Bearer ${key}` })
    t.equal(posted.status, 200)
  })
})

t.test('tickets', async (t) => {
  const start = async (options = {}) => {
    const node = await startWithChannels(t, { ticketKey: 't'.repeat(32), ...options })
    const ticket = async (body = '{}', headers: Record<string, string> = ann) =>
      await node.post('/tickets', body, headers)
    return { node, ticket }
  }

  t.test('open one stream, which resumes by its own id', async (t) => {
    const bus = memoryBus()
    const { node, ticket } = await start({ bus })
    const { node: other } = await start({ bus })
    await publishAll(node, 'room:ann', [1])
    const made = await ticket()
    t.equal(made.headers.get('cache-control'), 'no-store')
    t.match(made.json, { ticket: /^[\w-]{60,}$/, expiresInMs: 10_000 })
    const url = `/channels/room:ann?offset=-1&ticket=${(made.json as { ticket: string }).ticket}`
    const stream = await node.listen(url, events)
    const [event] = await stream.take(1)
    t.strictSame(valuesOf([event!]), [1])
    const { offset } = JSON.parse(event!.data) as Message
    t.ok(event!.id.startsWith(`${offset}.`), 'the id holds more than the position')
    const used = await node.get(url, events)
    t.match([used.status, used.json], [401, { code: 'ticket-refused' }])
    stream.close()
    await publishAll(node, 'room:ann', [2])
    const again = await other.listen(url, { ...events, 'last-event-id': stream.lastEventId })
    t.strictSame(valuesOf(await again.take(1)), [2])
    const bare = await node.get(url, { ...events, 'last-event-id': offset! })
    t.equal(bare.status, 401, 'the position alone opens nothing')
    const strange = await node.get(url.replace('room:ann', 'room:bob'), {
      ...events,
      'last-event-id': stream.lastEventId,
    })
    t.equal(strange.status, 401)
  })

  t.test('are for who is authenticated, for one channel, and for event streams only', async (t) => {
    const { node, ticket } = await start()
    t.equal((await ticket('{}', {})).status, 401)
    t.equal((await ticket('{}', server)).status, 403)
    t.equal((await ticket('[', ann)).status, 400)
    t.equal((await ticket('{"channel":7}', ann)).status, 400)
    t.equal((await ticket('{"channel":"@user:bob"}', ann)).status, 400)
    const { ticket: bound } = (await ticket('{"channel":"room:ann"}')).json as { ticket: string }
    t.equal((await node.get(`/channels/live:a?ticket=${bound}`, events)).status, 401)
    t.equal((await node.get(`/channels/room:ann?ticket=${bound}`)).status, 400)
    t.equal((await node.get(`/channels/room:ann?live=sse&offset=-1&ticket=${bound}`, events)).status, 400)
    const stream = await node.listen(`/channels/room:ann?ticket=${bound}`, events)
    t.equal(stream.status, 200)
    t.equal((await node.get('/channels/room:ann?ticket=x', events)).status, 401)
  })

  t.test('a ticket that found the node full is good for the next try', async (t) => {
    const { node, ticket } = await start({ maxStreams: 1 })
    const first = await node.listen('/channels/open:a', events)
    const { ticket: one } = (await ticket()).json as { ticket: string }
    const refused = await node.listen(`/channels/room:ann?ticket=${one}`, events)
    t.match(await refused.rest(), [{ type: 'refuse' }])
    await node.clock.advance(60_000)
    await first.rest()
    const stream = await node.listen(`/channels/room:ann?ticket=${one}`, events)
    await publishAll(node, 'room:ann', [1])
    t.strictSame(valuesOf(await stream.take(1)), [1])
  })
})

t.test('hostile requests', async (t) => {
  t.test('are answered with JSON and a code, whatever they hold', async (t) => {
    const node = await startWithChannels(t)
    const status = async (target: string, headers = '') => {
      const answer = await node.raw(
        `GET /everwire${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n`,
      )
      return [Number(answer.slice(9, 12)), /"code":"([\w-]+)"/.exec(answer)?.[1]]
    }
    const bad = [400, 'bad-request']
    for (const offset of [
      '',
      '0',
      '-2',
      '1e9',
      'x_1',
      'now%20',
      '%00',
      '../../etc',
      "'--",
      'a_99999999999999999',
      'x'.repeat(5_000),
    ])
      t.strictSame(await status(`/channels/open:a?offset=${offset}`), bad, offset.slice(0, 20))
    t.strictSame(await status('/channels/open:a?offset=-1&offset=now'), bad)
    t.strictSame(await status('/channels/open:a?live=sse&live=sse&offset=-1'), bad)
    t.strictSame(await status('/channels/open:a?cursor=99999999999999999999999&offset=-1'), [200, undefined])
    for (const name of ['token', 'access_token', 'TOKEN', 'Authorization', 'key'])
      t.strictSame(await status(`/channels/open:a?${name}=secret`), [400, 'token-in-url'])
    t.strictSame(
      await status(
        '/channels/open:a',
        `Accept: text/event-stream\r\nLast-Event-ID: ${'9'.repeat(8_000)}\r\n`,
      ),
      bad,
    )
    t.strictSame(
      await status(
        '/channels/open:a',
        'Accept: text/event-stream\r\nLast-Event-ID: \r\nLast-Event-ID: x\r\n',
      ),
      bad,
    )
    t.equal((await status('/channels/open:a', `Last-Event-ID: ${'9'.repeat(40_000)}\r\n`))[0], 431)

    const invalid = [400, 'invalid-channel']
    for (const name of [
      '',
      'a',
      'open:',
      ':a',
      'open::a',
      'open:*',
      'open:%20',
      'open:%0a',
      'open:%00',
      '@user:ann',
      '%40user:ann',
      '@',
      'open:e%CC%81',
      `open:${'x'.repeat(300)}`,
      `open:${'%C3%A9'.repeat(150)}`,
    ])
      t.strictSame(await status(`/channels/${name}`), invalid, name.slice(0, 30))
    // A name is decoded once: what looks like an escape afterwards is part of it.
    await node.app.everwire.publish('open:%41', 'n', 'percent')
    await node.app.everwire.publish('open:a/b?c#d', 'n', 'slash')
    t.strictSame(values((await node.get('/channels/open:%2541')).json), ['percent'])
    t.strictSame(values((await node.get('/channels/open%3Aa%2Fb%3Fc%23d')).json), ['slash'])
    t.strictSame(values((await node.get('/channels/open:a/b%3Fc%23d')).json), ['slash'])
    t.strictSame(values((await node.get(`/channels/open:${'%C3%A9'.repeat(90)}`)).json), [])
    for (const target of [
      '/channels/open:%',
      '/channels/open:%zz',
      '/channels/open:%C3',
      '/channels/open:%ED%A0%80',
    ])
      t.equal((await status(target))[0], 400, target)
  })

  t.test('other methods are refused, and name those that are not', async (t) => {
    const node = await startWithChannels(t)
    for (const method of ['PUT', 'PATCH', 'DELETE']) {
      const response = await fetch(`${node.url}/channels/open:a`, {
        method,
        ...(method === 'DELETE' ? {} : { body: 'x' }),
      })
      t.match([response.status, response.headers.get('allow')], [405, 'GET, HEAD, POST'])
      t.match(await response.json(), { code: 'method-refused' })
    }
    t.equal(
      (
        await node.raw('BREW /everwire/channels/open:a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
      ).slice(9, 12),
      '400',
    )
  })

  t.test('a hook that throws tells nothing of the inside', async (t) => {
    const node = await startHttpNode(t)
    node.app.everwire.channel('room:*', {
      history: {},
      subscribe: () => {
        throw new Error('the password is hunter2')
      },
    })
    const { status, text } = await node.get('/channels/room:a', ann)
    t.strictSame([status, text], [500, '{"code":"internal","message":"the server failed"}'])
    const stream = await node.listen('/channels/room:a', { ...ann, ...events })
    t.strictSame([stream.status, (await stream.rest())[0]!.type], [200, 'refuse'])
  })

  t.test('an authenticate hook that does not answer is answered for', async (t) => {
    let asks = 0
    let letAsk = () => {}
    const allAsked = new Promise<void>((resolve) => (letAsk = resolve))
    const node = await startHttpNode(t, {
      helloTimeoutMs: 3_000,
      authenticate: () => {
        if (++asks === 4) letAsk()
        return new Promise<never>(() => {})
      },
    })
    node.app.everwire.channel('room:*', { history: {}, subscribe: true, publish: true })
    const json = { ...ann, 'content-type': 'application/json' }
    const plain = [
      node.get('/channels/room:a', ann),
      node.post('/channels/room:a', '1', json),
      node.post('/tickets', '{"channel":"room:a"}', json),
    ]
    const opening = node.listen('/channels/room:a', { ...ann, ...events })
    await allAsked
    await node.clock.advance(3_000)
    for (const { status, headers, json } of await Promise.all(plain)) {
      t.match([status, json], [503, { code: 'temporary' }])
      t.ok(headers.has('retry-after'))
    }
    const stream = await opening
    t.strictSame([stream.status, (await stream.rest())[0]!.type], [200, 'refuse'])
    t.equal(node.logs.filter(({ hook }) => hook === 'authenticate').length, 4, 'once for each')
  })

  t.test('who goes away before the answer leaves nothing behind', async (t) => {
    let letGo = () => {}
    const asked = new Promise<void>((resolve) => (letGo = resolve))
    const node = await startHttpNode(t)
    const idle = node.clock.pending
    node.app.everwire.channel('room:*', {
      history: {},
      subscribe: async () => {
        await asked
        return true
      },
    })
    const controller = new AbortController()
    for (const query of ['', '?live=sse&offset=now', '?live=long-poll&offset=now'])
      fetch(`${node.url}/channels/room:a${query}`, {
        headers: { ...ann, ...(query === '' ? events : {}) },
        signal: controller.signal,
      }).catch(() => {})
    await until(node, () => node.logs.filter(({ msg }) => msg === 'incoming request').length === 3)
    controller.abort()
    letGo()
    await until(node, () => node.clock.pending === idle)
    t.equal(node.clock.pending, idle)
  })

  t.test('nor does who is gone already when it is let in, or when its start is read', async (t) => {
    const bus = memoryBus()
    let gone: Promise<unknown> = Promise.resolve()
    const node = await startHttpNode(t, {
      maxStreams: 6,
      authenticate: async ({ request, token }) => {
        gone = once((request as FastifyRequest).raw.socket, 'close')
        if (token === 'ann') await gone
        return { userId: null }
      },
      bus: {
        ...bus,
        async read(...args) {
          await gone
          return await bus.read(...args)
        },
      },
    })
    node.app.everwire.channel('room:*', { history: {}, subscribe: true })
    const idle = node.clock.pending
    const refused = () => node.logs.filter(({ msg }) => msg === 'everwire: request refused').length
    let sent = 0
    for (const user of ['ann', 'bob'])
      for (const query of ['', '&live=sse', '&live=long-poll']) {
        const socket = connect(node.port, '127.0.0.1')
        const accept = query === '' ? 'Accept: text/event-stream\r\n' : ''
        socket.write(
          `GET /everwire/channels/room:a?offset=-1${query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${user}\r\n${accept}\r\n`,
        )
        sent++
        await until(node, () => node.logs.filter(({ msg }) => msg === 'incoming request').length === sent)
        socket.destroy()
        await until(node, () => refused() === sent)
        t.strictSame([refused(), node.clock.pending], [sent, idle], `${user} ${query}`)
      }
  })
})

/** A bus whose listeners can be told anything. */
function spiedBus(): { bus: Bus; listeners: Set<StoredListener> } {
  const bus = memoryBus()
  const listeners = new Set<StoredListener>()
  return {
    listeners,
    bus: {
      ...bus,
      follow: async (channel, history, listener) => {
        listeners.add(listener)
        return await bus.follow(channel, history, listener)
      },
    },
  }
}

/** Lets the network and the node work until something holds; gives up after a while. */
async function until({ clock }: HttpNode, holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 20_000 && !holds(); turn++) await clock.settle()
}
