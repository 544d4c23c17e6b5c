import { everwire } from '@everwire/server'
import { sse } from '@everwire/transport-sse/server'
import Fastify from 'fastify'
import { launchChromium, withoutChromium } from '@everwire/testkit/chromium'
import t from 'tap'

// The EventSource of a real browser, with one ticket, over the ends of many streams.

const total = 200
const skip = withoutChromium

interface Seen {
  values: number[]
  types: string[]
  opened: number
}

t.test('an EventSource with a ticket comes back by itself, and misses nothing', { skip }, async (t) => {
  const app = Fastify({ forceCloseConnections: true })
  let requests = 0
  const secrets: string[] = []
  const ids: string[] = []
  app.addHook('onRequest', async ({ url, headers }) => {
    if (url.includes('ticket=')) requests++
    if (url.includes('secret')) secrets.push(url)
    if (requests > 1) ids.push(String(headers['last-event-id']))
  })
  await app.register(everwire, {
    transports: [sse()],
    authenticate: ({ token }) => (token === 'secret' ? { userId: 'ann' } : null),
    streamMs: 400,
  })
  app.everwire.channel('room:*', { history: { size: 1_000 }, subscribe: ({ userId }) => userId === 'ann' })
  app.get('/', (_request, reply) => reply.type('text/html').send('<!doctype html><title>x</title>'))
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())

  const browser = await launchChromium()
  t.teardown(() => browser.close())
  const page = await browser.newPage()
  await page.goto(address)
  await page.evaluate(`(async () => {
    window.seen = { values: [], types: [], opened: 0 }
    const headers = { authorization: 'Bearer secret', 'content-type': 'application/json' }
    const answer = await fetch('/everwire/tickets', { method: 'POST', headers, body: '{"channel":"room:a"}' })
    const { ticket } = await answer.json()
    const source = new EventSource('/everwire/channels/room:a?offset=-1&ticket=' + ticket)
    source.onopen = () => seen.opened++
    source.onmessage = ({ data }) => seen.values.push(JSON.parse(data).data)
    for (const type of ['gap', 'refuse']) source.addEventListener(type, () => seen.types.push(type))
  })()`)
  // The next few are published once the last are there, so that streams end in between.
  for (let n = 1; n <= total;) {
    for (const last = Math.min(total, n + 9); n <= last; n++) await app.everwire.publish('room:a', 'n', n)
    await page.waitForFunction(`seen.values.length >= ${n - 1} && seen.opened >= ${Math.ceil(n / 40)}`)
  }
  const { values, types, opened } = (await page.evaluate('seen')) as Seen
  t.strictSame(
    values,
    Array.from({ length: total }, (_, index) => index + 1),
  )
  t.strictSame(types, [])
  t.ok(opened >= 5)
  t.strictSame(secrets, [], 'the token stands in no address')
  t.ok(
    ids.length > 0 && ids.every((id) => /^\w+_\d{16}\.[\w.-]+$/.test(id)),
    'what comes back proves the first stream',
  )
  t.equal(requests, opened)
})
