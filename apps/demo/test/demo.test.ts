import { request as httpRequest } from 'node:http'
import { createClient } from '@everwire/client'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import t from 'tap'
import { createDemo } from '../src/app.js'
import { buildPage } from '../src/build-page.js'
import {
  chatChannel,
  labChannel,
  labPublisher,
  ledgerChannel,
  liveLedgerChannel,
  type ServerInfo,
} from '../src/shared.js'

const publicDir = t.testdir()
const demo = createDemo({ publicDir })
let url = ''

t.before(async () => {
  await buildPage(publicDir, { conditions: ['@everwire/source'] })
  const { port } = await demo.start()
  url = `http://127.0.0.1:${port}`
})
t.teardown(async () => {
  await demo.close()
  await demo.close()
})

/** A new visitor's cookie. */
async function visit(): Promise<string> {
  const response = await fetch(url)
  await response.text()
  return response.headers.getSetCookie()[0]!.split(';')[0]!
}

const post = (route: string, body: unknown, cookie?: string) =>
  fetch(`${url}/path/${route}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(cookie ? { cookie } : {}) },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })

const faultsOf = async (cookie: string) =>
  (await (await fetch(`${url}/path/faults`, { headers: { cookie } })).json()) as unknown

/** Status of an upgrade to WebSocket, and a promise of its end. */
function upgrade(cookie: string): Promise<{ status: number; closed: Promise<unknown> }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(`${url}/everwire/websocket`, {
      headers: {
        cookie,
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': Buffer.alloc(16).toString('base64'),
      },
    })
    request.on('error', reject)
    request.on('response', (response) => {
      response.resume()
      resolve({ status: response.statusCode!, closed: Promise.resolve() })
    })
    request.on('upgrade', (response, socket) => {
      socket.on('error', () => {})
      t.teardown(() => socket.destroy())
      resolve({
        status: response.statusCode!,
        closed: new Promise((resolve) => socket.on('close', resolve).resume()),
      })
    })
    request.end()
  })
}

function connect(cookie: string, transports = [sse(), longPolling({ pollWaitMs: 500 })]) {
  const client = createClient({
    url: `${url}/everwire`,
    transports,
    headers: { cookie },
    backoffMs: 50,
    // What is set back, because another works, is tried again soon.
    upgradeIntervalMs: 200,
  })
  t.teardown(() => client.close())
  const on = (transport: string) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (client.state !== 'connected' || client.transport !== transport) return
        off()
        resolve()
      }
      const off = client.on('state', check)
      check()
    })
  client.connect()
  return { client, on }
}

t.test('serves the page with strict headers, and makes a stranger a visitor', async (t) => {
  const response = await fetch(url)
  t.equal(response.status, 200)
  t.match(await response.text(), 'This page stays connected')
  const policy = response.headers.get('content-security-policy') ?? ''
  t.match(policy, "default-src 'none'")
  t.notMatch(policy, 'unsafe')
  t.equal(response.headers.get('x-content-type-options'), 'nosniff')
  const [cookie] = response.headers.getSetCookie()
  t.match(cookie, /^everwire-demo-visitor=[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax$/)
  const again = await fetch(url, { headers: { cookie: cookie!.split(';')[0]! } })
  await again.text()
  t.same(again.headers.getSetCookie(), [], 'who has a cookie keeps it')
  const lab = await fetch(`${url}/lab`)
  t.match(await lab.text(), 'Run the networks')
  t.equal(lab.headers.get('content-security-policy'), policy)
  t.match(lab.headers.getSetCookie(), [/^everwire-demo-visitor=/], 'so does the lab')
  for (const file of ['main.js', 'style.css', 'lab.js', 'lab.css']) {
    const { status } = await fetch(`${url}/${file}`, { method: 'HEAD' })
    t.equal(status, 200, file)
  }
  t.equal((await fetch(`${url}/nothing-here`)).status, 404)
})

t.test('a fault holds for the visitor who asked for it alone, and ends what is open', async (t) => {
  const [one, other] = [await visit(), await visit()]
  const [open, elsewhere] = [await upgrade(one), await upgrade(other)]
  t.equal(open.status, 101)
  t.equal(elsewhere.status, 101)
  let cutElsewhere = false
  void elsewhere.closed.then(() => (cutElsewhere = true))

  const response = await post('faults', { websocket: 'blocked' }, one)
  t.equal(response.status, 200)
  t.same(await response.json(), { websocket: 'blocked', sse: 'ok', cable: 'ok' })
  await open.closed
  t.equal((await upgrade(one)).status, 403)
  t.equal((await upgrade(other)).status, 101)
  t.equal(cutElsewhere, false)
  t.same(await faultsOf(other), { websocket: 'ok', sse: 'ok', cable: 'ok' })

  await post('faults', { websocket: 'ok' }, one)
  t.equal((await upgrade(one)).status, 101)
})

t.test('a client falls back when its path is blocked, and its session goes on', async (t) => {
  const cookie = await visit()
  const { client, on } = connect(cookie)
  await on('sse')
  const session = ((await client.request('server.info')) as ServerInfo).session
  await post('faults', { sse: 'blocked' }, cookie)
  await on('long-polling')
  t.equal(((await client.request('server.info')) as ServerInfo).session, session)
  t.match(client.stats(), { sessions: 1, resumes: 1 })

  await post('faults', { cable: 'cut' }, cookie)
  await t.rejects(fetch(`${url}/everwire/session`, { method: 'POST', headers: { cookie } }))
  t.equal((await fetch(url, { headers: { cookie } })).status, 200, 'the page itself always comes through')
  await post('faults', { sse: 'ok', cable: 'ok' }, cookie)
  await on('sse')
  t.equal(client.stats().sessions, 1)
})

t.test('a stream that is held back makes a client poll', async (t) => {
  const cookie = await visit()
  await post('faults', { sse: 'held' }, cookie)
  const { on } = connect(cookie)
  await on('long-polling')
  t.pass('it polls')
})

t.test('a stream that is held back by GET alone is asked for by POST', async (t) => {
  const cookie = await visit()
  await post('faults', { sse: 'held-get' }, cookie)
  const { on } = connect(cookie, [sse()])
  await on('sse')
  t.pass('it streams')
})

t.test('a WebSocket that is killed opens first', async (t) => {
  const cookie = await visit()
  await post('faults', { websocket: 'killed' }, cookie)
  const opened = performance.now()
  const { status, closed } = await upgrade(cookie)
  t.equal(status, 101)
  await closed
  const lived = performance.now() - opened
  t.ok(lived >= 190, `${lived} ms`)
})

t.test('idle links are cut where the path says so, and slow ones end with the slowness', async (t) => {
  const cookie = await visit()
  await post('faults', { cable: 'idle' }, cookie)
  const opened = performance.now()
  const idle = await upgrade(cookie)
  await idle.closed
  t.ok(performance.now() - opened >= 4_900, 'after five seconds')

  t.same(await (await post('faults', { cable: 'slow' }, cookie)).json(), {
    websocket: 'ok',
    sse: 'ok',
    cable: 'slow',
  })
  const asked = performance.now()
  await (await fetch(`${url}/everwire/readyz`, { headers: { cookie } })).text()
  t.ok(performance.now() - asked >= 145)
  const slow = await upgrade(cookie)
  await post('faults', { cable: 'ok' }, cookie)
  await slow.closed
  t.pass('or it would stay slow for ever')
})

t.test('dropping the link once lets it come back at once', async (t) => {
  const cookie = await visit()
  const { client, on } = connect(cookie)
  await on('sse')
  const lost = new Promise((resolve) =>
    client.on('state', ({ state }) => state === 'reconnecting' && resolve(0)),
  )
  t.equal((await post('cut', {}, cookie)).status, 200)
  await lost
  await on('sse')
  t.match(client.stats(), { sessions: 1, resumes: 1 })
})

t.test('one process has no nodes, and nothing to press', async (t) => {
  const response = await fetch(`${url}/nodes`)
  t.same(await response.json(), { nodes: [], totals: { handedOver: 0, relayed: 0, recovered: 0 } })
  const pressed = await fetch(`${url}/nodes/1/kill`, { method: 'POST', headers: { cookie: await visit() } })
  t.equal(pressed.status, 404)
})

t.test('refuses bad input to the controls with 400 and a reason', async (t) => {
  const cookie = await visit()
  const cases: [name: string, body: unknown, error: RegExp][] = [
    [
      'unknown fault',
      { carrierPigeon: 'blocked' },
      /unknown fault "carrierPigeon": known are websocket, sse, cable/,
    ],
    ['unknown value', { websocket: 'maybe' }, /websocket must be one of ok, blocked, silent, killed/],
    ['value of another', { cable: 'held' }, /cable must be one of ok, cut, idle, slow/],
    ['inherited name', { constructor: 'ok' }, /unknown fault/],
    ['nothing', {}, /name at least one of/],
    ['list', ['websocket'], /must be an object/],
    ['null', 'null', /must be an object/],
    ['no JSON', '{"websocket"', /JSON/],
  ]
  for (const [name, body, error] of cases) {
    const response = await post('faults', body, cookie)
    t.equal(response.status, 400, name)
    t.match(((await response.json()) as { error: string }).error, error, name)
  }
  const large = await post('faults', { websocket: 'x'.repeat(5_000) }, cookie)
  t.equal(large.status, 400, 'too large')
  t.same(await faultsOf(cookie), { websocket: 'ok', sse: 'ok', cable: 'ok' }, 'and nothing has changed')
  for (const stranger of [undefined, 'everwire-demo-visitor=guess'])
    for (const route of ['faults', 'cut']) {
      const response = await post(route, { websocket: 'blocked' }, stranger)
      t.equal(response.status, 400)
      t.match(((await response.json()) as { error: string }).error, 'load the page first')
    }
})

t.test('accepts only what a chat message or a ledger message may be', async (t) => {
  const { client } = connect(await visit())
  const chat = client.channel(chatChannel)
  const message = { id: 'a', name: 'Ada', text: '<b>hi</b>', at: Date.now() }
  const arrived = new Promise((resolve) => chat.on('message', resolve))
  await chat.subscribe()
  await chat.publish('message', message)
  t.same(await arrived, message)
  const refused: [name: string, event: string, data: unknown][] = [
    ['another event', 'shout', message],
    ['the house', 'message', { ...message, house: true }],
    ['a long name', 'message', { ...message, name: 'x'.repeat(25) }],
    ['a long text', 'message', { ...message, text: 'x'.repeat(401) }],
    ['an empty text', 'message', { ...message, text: '  ' }],
    ['no text', 'message', { ...message, text: 1 }],
    ['another century', 'message', { ...message, at: 0 }],
    ['nothing', 'message', null],
  ]
  for (const [name, event, data] of refused)
    await t.rejects(chat.publish(event, data), { code: 'bad-payload' }, name)

  const ledger = client.channel(ledgerChannel)
  const { visitor } = (await client.request('server.info')) as ServerInfo
  const number = { publisher: `${visitor}.test`, sequence: 1 }
  await ledger.publish('number', number)
  for (const channel of [ledger, client.channel(liveLedgerChannel)]) {
    await t.rejects(channel.publish('number', { ...number, publisher: 'server.test' }), {
      code: 'bad-payload',
    })
    await t.rejects(channel.publish('number', { ...number, sequence: 0 }), { code: 'bad-payload' })
  }
  const lab = client.channel(labChannel('abc1'))
  await lab.subscribe()
  await lab.publish('number', { publisher: labPublisher, sequence: 1 })
  for (const data of [
    { publisher: 'other', sequence: 1 },
    { publisher: labPublisher, sequence: 1, text: 'hi' },
  ])
    await t.rejects(lab.publish('number', data), { code: 'bad-payload' })
  await t.rejects(client.channel(labChannel('A-word')).subscribe(), { code: 'forbidden' })
  await t.rejects(client.channel('ticker:AMP').publish('tick', { price: 1 }), { code: 'forbidden' })
})

t.test('limits how fast one session may chat', async (t) => {
  const { client } = connect(await visit())
  const chat = client.channel(chatChannel)
  const results = await Promise.allSettled(
    Array.from({ length: 30 }, (_, i) =>
      chat.publish('message', { id: `flood ${i}`, name: 'Ada', text: 'again', at: Date.now() }),
    ),
  )
  const codes = results.map((result) => (result.status === 'rejected' ? result.reason.code : 'accepted'))
  t.ok(codes.filter((code) => code === 'accepted').length <= 15)
  t.same([...new Set(codes)].sort(), ['accepted', 'rate-limited'])
})
