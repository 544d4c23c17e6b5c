import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { formatLink } from '../src/announcement.js'
import { createPolling } from '../src/client.js'
import { url, world } from './scripted.js'

// Users that come and go on one page, servers that lie, and listeners that close what they hear.

const settle = (w: ReturnType<typeof world>) => w.clock.settle()
const ms = (n: number) => new Promise((resolve) => setTimeout(resolve, n))

t.test('another user’s credentials make another poll', async (t) => {
  const w = world(t)
  w.start({ init: { headers: { authorization: 'Bearer ann' } } })
  w.next().answer({ secretOf: 'ann' })
  await settle(w)
  const bob = w.start({ init: { headers: { authorization: 'Bearer bob' } } })
  await settle(w)
  t.strictSame(bob.shown, [])
})

t.test('after the user is another, who joins gets nothing of the former', async (t) => {
  const w = world(t)
  w.start()
  w.next().answer({ secretOf: 'ann' }, 1)
  await settle(w)
  w.channel.accept()
  await settle(w)
  w.client.facts.userId = 'bob'
  w.client.set('connected')
  const bob = w.start()
  await settle(w)
  t.strictSame(bob.shown, [])
  await w.clock.advance(1)
  w.next().status(403)
  await settle(w)
  t.equal(bob.orders.data, undefined, 'and not after bob was refused')
})

t.test('a poll that is closed asks nothing', async (t) => {
  const w = world(t)
  const { orders } = w.start()
  w.next().answer({ n: 0 })
  await settle(w)
  orders.close()
  void orders.refresh().catch(() => {})
  await settle(w)
  t.ok(w.idle())
})

t.test('closed while it is told, it hears nothing more', async (t) => {
  const w = world(t)
  const heard: unknown[] = []
  const poll = w.polling.poll({ url, intervalMs: 5000, onData: () => poll.close() })
  poll.on('data', (data) => heard.push(data))
  w.next().answer({ n: 0 })
  await settle(w)
  t.strictSame(heard, [])
})

t.test('a redirection to another origin does not get the token', async (t: Test) => {
  const seen: string[] = []
  const evil = createServer((request: IncomingMessage, response: ServerResponse) => {
    seen.push(`${request.method} ${request.url} authorization=${request.headers.authorization}`)
    if (!request.url!.startsWith('/api')) return void response.writeHead(404).end()
    response.setHeader(
      'link',
      formatLink({
        channel: 'orders:all',
        position: { epoch: 'e', offset: 1 },
        revision: 'x',
        href: '/everwire/channels/orders%3Aall',
      }),
    )
    response.setHeader('content-type', 'application/json')
    response.end('{"n":1}')
  })
  await new Promise<void>((resolve) => evil.listen(0, '127.0.0.1', resolve))
  const good = createServer((_request, response: ServerResponse) =>
    response
      .writeHead(302, { location: `http://127.0.0.1:${(evil.address() as AddressInfo).port}/api/orders` })
      .end(),
  )
  await new Promise<void>((resolve) => good.listen(0, '127.0.0.1', resolve))
  const polling = createPolling({ headers: { authorization: 'Bearer SECRET' } })
  polling.poll({
    url: `http://127.0.0.1:${(good.address() as AddressInfo).port}/api/orders`,
    intervalMs: 5000,
    onData: () => {},
  })
  await ms(2500)
  polling.close()
  evil.closeAllConnections()
  good.closeAllConnections()
  evil.close()
  good.close()
  t.comment(seen)
  t.notOk(
    seen.some((line) => line.includes('SECRET')),
    seen.join('\n'),
  )
})

t.test('a route that answers 403 while live: nothing is shown any more', async (t) => {
  const w = world(t)
  const { shown, orders } = w.start()
  w.next().answer({ n: 0 }, 1)
  await w.clock.settle()
  w.channel.accept()
  await w.clock.settle()
  void orders.refresh().catch(() => {})
  w.next().status(403)
  await w.clock.settle()
  w.channel.snapshot({ n: 0 }, { n: 1 }, 2)
  await w.clock.settle()
  t.strictSame(shown, [{ n: 0 }], `state ${orders.state}`)
})

t.test('a revision that is no whole number is one of nothing', async (t) => {
  const w = world(t)
  const { shown } = w.start()
  w.next().answer({ v: 10 }, 1, { revision: 10 })
  await settle(w)
  w.channel.accept()
  w.channel.publish('snapshot', { from: null, to: JSON.parse('1e999'), data: 'never' }, 2)
  await w.clock.advance(100)
  w.next().answer({ v: 11 }, 3, { revision: 11 })
  await settle(w)
  t.strictSame(shown, [{ v: 10 }, { v: 11 }])
})
