import { encodeFrame, type Frame } from '@everwire/core'
import { test } from 'tap'
import { createLinkPair, type LinkEnd, type LinkPairOptions } from '../src/link-pair.js'

function open(options?: LinkPairOptions) {
  const pair = createLinkPair(options)
  const listen = (end: LinkEnd) => {
    const log: string[] = []
    end.listen({
      receive: (frame: Frame) =>
        log.push(`${JSON.stringify(frame.header)}${frame.data === undefined ? '' : ` ${frame.data}`}`),
      drained: () => log.push('drained'),
      closed: (code) => log.push(`closed ${code}`),
    })
    return log
  }
  return { pair, client: listen(pair.client), server: listen(pair.server) }
}
const settle = () => new Promise<void>((resolve) => setImmediate(resolve))
const number = (n: number) => encodeFrame(['ping', n])

test('frames cross as bytes, in order, and binary stays binary', async (t) => {
  const { pair, client, server } = open()
  pair.client.send([number(1), encodeFrame(['pub', 'a:b', 'e'], '"é"')])
  pair.server.send([encodeFrame(['pub', 'a:b', 'e'], Uint8Array.of(255, 10), { binary: true })])
  t.strictSame(server, [], 'never from within send')
  await settle()
  t.strictSame(server, ['["ping",1]', '["pub","a:b","e"] "é"'])
  t.strictSame(client, ['["pub","a:b","e"] 255,10'])
})

test('what comes before anybody listens waits', async (t) => {
  const pair = createLinkPair()
  pair.client.send([number(1)])
  await settle()
  const seen: unknown[] = []
  pair.server.listen({ receive: ({ header }) => seen.push(header[1]), drained() {}, closed() {} })
  await settle()
  t.strictSame(seen, [1])
})

test('held frames come across one by one, and a cut loses the rest', async (t) => {
  const { pair, client, server } = open({ held: true })
  pair.client.send([number(1), number(2), number(3), number(4)])
  await settle()
  t.strictSame([server, pair.up.inFlight], [[], 4])
  t.equal(pair.up.deliver(2), 2)
  t.strictSame(server, ['["ping",1]', '["ping",2]'])
  pair.cut({ tell: 'server' })
  await settle()
  t.strictSame([server.at(-1), client, pair.client.over], ['closed link-lost', [], false])
  t.ok(pair.client.send([number(5)]), 'an open link that stays silent')
  pair.up.release()
  pair.cut()
  await settle()
  t.strictSame([server.length, client], [3, ['closed link-lost']], 'each is told once')
})

test('close arrives after what was sent, at both ends once', async (t) => {
  const { pair, client, server } = open()
  pair.server.send([number(1)])
  pair.server.close('superseded')
  pair.server.close('closed')
  pair.server.send([number(2)])
  await settle()
  t.strictSame(client, ['["ping",1]', 'closed superseded'])
  t.strictSame(server, ['closed superseded'])
  t.ok(pair.client.over && pair.server.over)
})

test('a link above its high water is blocked until enough has gone', async (t) => {
  const { pair, client } = open({ held: true, highWaterBytes: 25 })
  t.equal(pair.client.send([number(1)]), true)
  t.equal(pair.client.send([number(2), number(3)]), false)
  t.equal(pair.client.bufferedBytes, 30)
  pair.up.deliver(1)
  t.strictSame(client, ['drained'])
  pair.up.block()
  t.equal(pair.client.send([number(4)]), false)
  pair.up.deliver()
  t.equal(client.length, 1)
  pair.up.unblock()
  t.equal(client.length, 2)
})

test('a frame that is too large closes the link with its code', async (t) => {
  const { pair, client, server } = open({ maxBytes: 20 })
  pair.client.send([encodeFrame(['pub', 'a:b', 'e'], '"too large"'), number(1)])
  await settle()
  t.strictSame([server, client], [['closed frame-too-large'], ['closed frame-too-large']])
})
