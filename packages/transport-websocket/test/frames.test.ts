import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket, type ClientOptions } from 'ws'
import { encodeFrame, frameText, parseFrame, type Frame, type Link } from '@everwire/core'
import { webSocket } from '@everwire/transport-websocket/server'

// The writer against the receiver of ws, which is strict about every bit (RFC 6455, RFC 7692).

/** A server whose links are handed to the test, and a client of ws on it. */
async function pair(t: Test, options: ClientOptions = {}) {
  const app = Fastify()
  const links: Link[] = []
  await app.register(async (scope) => {
    await webSocket().register(scope, {
      accept: (link) => {
        links.push(link)
        return { receive() {}, drained() {}, closed() {} }
      },
      frameBytes: 65_536,
      highWaterBytes: 262_144,
      clock: { now: () => 0, after: () => () => {} },
      pollWaitMs: 1_000,
    })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = new WebSocket(
    `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/websocket`,
    options,
  )
  const received: { frame: Frame; binary: boolean }[] = []
  client.on('message', (data: Buffer, binary) =>
    received.push({ frame: parseFrame(data, { binary }), binary }),
  )
  await once(client, 'open')
  t.teardown(async () => {
    client.terminate()
    await app.close()
  })
  return {
    link: links[0]!,
    client,
    received,
    /** Resolves once the client has `count` messages; rejects when its socket fails. */
    async messages(count: number) {
      while (received.length < count) await once(client, 'message')
      return received
    },
  }
}

const publication = (offset: number, text: string) =>
  encodeFrame(['m', 'chat:a', 'message', offset, offset - 1], JSON.stringify({ text }), {
    channel: 'chat:a',
    compress: true,
  })

t.test('messages of every length class arrive whole, in one write', async (t) => {
  const { link, messages } = await pair(t)
  const texts = [0, 1, 60, 100, 125, 126, 127, 1_000, 40_000, 65_000].map((length) => 'é'.repeat(length / 2))
  link.send(texts.map((text, index) => publication(index + 1, text)))
  const received = await messages(texts.length)
  t.same(
    received.map(
      ({ frame }) => (JSON.parse(String(Buffer.from(frame.data as Uint8Array))) as { text: string }).text,
    ),
    texts,
  )
})

t.test('a binary payload goes as a binary message, byte for byte', async (t) => {
  const { link, messages } = await pair(t)
  const bytes = Uint8Array.from({ length: 256 }, (_, index) => index)
  link.send([encodeFrame(['m', 'chat:a', 'photo', 2, 1], bytes, { binary: true })])
  const [first] = await messages(1)
  t.equal(first!.binary, true)
  t.same(Buffer.from(first!.frame.data as Uint8Array), Buffer.from(bytes))
})

t.test('order is kept between compressed messages, plain ones and control frames', async (t) => {
  const { link, client, messages } = await pair(t)
  const events: string[] = []
  client.on('message', (data: Buffer) => events.push(String(parseFrame(data).header[3])))
  client.on('close', (code) => events.push(`close ${code}`))
  for (let offset = 1; offset <= 50; offset++)
    link.send([publication(offset, offset % 2 ? 'x'.repeat(5_000) : 'short')])
  link.close('slow-consumer')
  await messages(50)
  await once(client, 'close')
  t.same(events, [...Array.from({ length: 50 }, (_, index) => String(index + 1)), 'close 4432'])
})

t.test('large publications are compressed once, and what may hold a secret is not', async (t) => {
  const { link, client, messages } = await pair(t)
  let bytes = 0
  const socket = (client as unknown as { _socket: NodeJS.EventEmitter })._socket
  socket.on('data', (chunk: Buffer) => (bytes += chunk.length))
  const open = publication(1, 'x'.repeat(20_000))
  link.send([open])
  await messages(1)
  t.ok(bytes < 1_000, `20 KB of x took ${bytes} bytes`)
  bytes = 0
  const { channel, data } = open
  link.send([encodeFrame(['m', 'chat:a', 'message', 2, 1], data, { channel, compress: false })])
  await messages(2)
  t.ok(bytes > 20_000, `the secret one took ${bytes}`)
})

for (const [name, perMessageDeflate] of Object.entries({
  'window of 9 bits': { serverMaxWindowBits: 9 },
  'window of 14 bits': { serverMaxWindowBits: 14 },
  'window of 15 bits': { serverMaxWindowBits: 15 },
  'context takeover': { serverNoContextTakeover: false },
  'no compression': false,
} satisfies Record<string, ClientOptions['perMessageDeflate']>))
  t.test(`a client that offers ${name} reads the same publications`, async (t) => {
    const { link, messages } = await pair(t, { perMessageDeflate })
    // More than a small window, and repetitive, so that matches reach far back.
    const text = Array.from({ length: 6_000 }, (_, index) => String(index % 997)).join('-')
    const frames = [1, 2, 3].map((offset) => publication(offset, text))
    link.send(frames)
    const received = await messages(3)
    t.same(
      received.map(({ frame }) => frameText(encodeFrame(frame.header, frame.data))),
      frames.map(frameText),
    )
  })
