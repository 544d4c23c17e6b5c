import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { createPublisher } from '@everwire/bus-nats'
import { createClient, type Client } from '@everwire/client'
import { startNats, type Nats } from '@everwire/testkit/nats-server'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'
import { launchChromium, withoutChromium } from '@everwire/testkit/chromium'
import type { Browser, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { createDemo, type Demo } from '../src/app.js'
import { buildPage } from '../src/build-page.js'
import { chatChannel, tickerChannel, type ChatMessage } from '../src/shared.js'

// Two processes of the demo on one NATS, a real browser at the first, and a program that knows nothing but NATS.

t.setTimeout(200_000)

const documentation = readFileSync(new URL('../../../docs/nats.md', import.meta.url), 'utf8')
const patienceMs = 20_000

let nats: Nats
let demos: Demo[] = []
const urls: string[] = []

t.before(async () => {
  const publicDir = t.testdir()
  ;[nats] = await Promise.all([startNats(), buildPage(publicDir, { conditions: ['@everwire/source'] })])
  demos = [1, 2].map(() => createDemo({ publicDir, natsUrl: nats.url }))
  // The second finds what the first has agreed on.
  for (const demo of demos) urls.push(`http://127.0.0.1:${(await demo.start()).port}`)
})
t.teardown(async () => {
  await Promise.all(demos.map((demo) => demo.close()))
  await nats.stop()
})

/** Speaks NATS by hand: https://docs.nats.io/reference/reference-protocols/nats-protocol */
async function dial(t: Test): Promise<{ send(text: string): void; answer(fits: RegExp): Promise<string> }> {
  const { port } = new URL(nats.url)
  const socket: Socket = connect(Number(port), '127.0.0.1')
  t.teardown(() => socket.destroy())
  let came = ''
  let look = () => {}
  socket.on('data', (chunk) => {
    came += String(chunk)
    look()
  })
  const answer = (fits: RegExp) =>
    new Promise<string>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`no ${fits} within ${patienceMs} ms: ${came}`)),
        patienceMs,
      )
      look = () => {
        const found = fits.exec(came)?.[0]
        if (found === undefined) return
        clearTimeout(timer)
        resolve(found)
      }
      look()
    })
  await answer(/^INFO /)
  return { send: (text) => void socket.write(text), answer }
}

/** A Node client of a demo, and the data of a channel's publications as they come. */
async function read(t: Test, url: string, channelName: string, event: string) {
  const client: Client = createClient({ url: `${url}/everwire`, transports: [webSocket(), sse()] })
  t.teardown(() => client.close())
  const came: unknown[] = []
  let look = () => {}
  const channel = client.channel(channelName)
  channel.on(event, (data) => {
    came.push(data)
    look()
  })
  await channel.subscribe()
  const first = <T>(fits: (data: T) => boolean) =>
    new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not within ${patienceMs} ms`)), patienceMs)
      look = () => {
        const found = (came as T[]).find(fits)
        if (found === undefined) return
        clearTimeout(timer)
        resolve(found)
      }
      look()
    })
  return { first, client, channel }
}

t.test('the server says which bus it is', async (t) => {
  const { client } = await read(t, urls[0]!, chatChannel, 'message')
  t.match(await client.request('server.info'), { bus: 'nats' })
})

t.test('a program that only speaks the text protocol of NATS publishes to a live channel', async (t) => {
  const readers = await Promise.all(urls.map((url) => read(t, url, tickerChannel('AMP'), 'tick')))
  const { send, answer } = await dial(t)
  send('CONNECT {"verbose":false,"headers":true}\r\n')
  // 40 bytes of header, 62 with the payload.
  const published =
    'HPUB ew.in.live.ticker.AMP 40 62\r\nNATS/1.0\r\nEverwire: {"event":"tick"}\r\n\r\n{"price":7.5,"open":5}\r\n'
  send(published)
  send('PING\r\n')
  await answer(/PONG\r\n/)
  for (const { first } of readers)
    t.strictSame(await first<{ price: number }>(({ price }) => price === 7.5), { price: 7.5, open: 5 })
  // A price of the demo itself has two digits after the point, and never this open.
})

t.test('with history it is acknowledged when it asks, and a repeat is stored once', async (t) => {
  const { first, channel } = await read(t, urls[1]!, chatChannel, 'message')
  const { send, answer } = await dial(t)
  send('CONNECT {"verbose":false,"headers":true}\r\nSUB my.answers 1\r\n')
  const payload = '{"text":"once"}'
  const header = 'NATS/1.0\r\nNats-Msg-Id: order-7\r\n\r\n'
  const whole = `HPUB ew.in.s100-t86400000.1.chat.lobby my.answers ${header.length} ${header.length + payload.length}\r\n${header}${payload}\r\n`
  send(whole)
  const ack = await answer(/MSG my\.answers 1 +\d+\r\n\{[^\n]*\}\r\n/)
  t.match(ack, /"stream":"ew_s100-t86400000_1", ?"seq":\d+/)
  send(whole)
  t.match(await answer(/MSG my\.answers 1 +\d+\r\n\{[^\n]*"duplicate": ?true[^\n]*\}\r\n/), /duplicate/)
  await first<{ text: string }>(({ text }) => text === 'once')
  const { publications } = await channel.history({ limit: 100 })
  t.equal(publications.filter(({ data }) => (data as ChatMessage).text === 'once').length, 1)
})

t.test('createPublisher publishes to both kinds', async (t) => {
  const publisher = await createPublisher({ servers: nats.url })
  t.teardown(() => publisher.close())
  const chats = await Promise.all(urls.map((url) => read(t, url, chatChannel, 'message')))
  const tickers = await Promise.all(urls.map((url) => read(t, url, tickerChannel('OHM'), 'tick')))
  const message: ChatMessage = { id: 'worker 1', name: 'Worker', text: 'from a worker', at: Date.now() }
  t.ok(await publisher.publish(chatChannel, 'message', message, { id: message.id }))
  await publisher.publish(tickerChannel('OHM'), 'tick', { price: 3.25, open: 3 })
  for (const { first } of chats) t.match(await first<ChatMessage>(({ id }) => id === message.id), message)
  for (const { first } of tickers) await first<{ price: number }>(({ price }) => price === 3.25)
  t.equal(await publisher.subject(chatChannel), 'ew.in.s100-t86400000.1.chat.lobby')
  t.equal(await publisher.subject(tickerChannel('AMP')), 'ew.in.live.ticker.AMP')
})

t.test('in a real browser', { skip: withoutChromium }, async (t) => {
  let browser: Browser
  let page: Page
  const faults: string[] = []
  t.before(async () => {
    browser = await launchChromium()
    page = await browser.newPage()
    page.setDefaultTimeout(patienceMs)
    page.on('pageerror', (error) => faults.push(String(error)))
    await page.goto(urls[0]!)
    await page.locator('#chat-log .message', { hasText: 'Welcome' }).first().waitFor()
  })
  t.teardown(() => browser?.close())

  t.test('the panel says NATS', async (t) => {
    await page.locator('#fact-bus', { hasText: 'NATS' }).waitFor()
    t.equal(await page.locator('#fact-bus').textContent(), 'NATS')
  })

  t.test('the page shows what was published with the bytes of the documentation', async (t) => {
    const { send, answer } = await dial(t)
    const lines = [
      'CONNECT {"verbose":false}',
      'PUB ew.in.s100-t86400000.1.chat.lobby 26',
      '{"text":"hello from NATS"}',
      'PING',
    ]
    t.match(documentation, lines.map((line) => `    ${line}\n`).join(''))
    send(
      'CONNECT {"verbose":false}\r\nPUB ew.in.s100-t86400000.1.chat.lobby 26\r\n{"text":"hello from NATS"}\r\nPING\r\n',
    )
    await answer(/PONG\r\n/)
    await page.locator('#chat-log .message', { hasText: 'hello from NATS' }).waitFor()
    t.match(
      await page.locator('#chat-log .message', { hasText: 'hello from NATS' }).textContent(),
      'Someone on NATS',
    )
  })

  t.test('and what is no JSON, and what createPublisher publishes', async (t) => {
    const { send } = await dial(t)
    send('CONNECT {"verbose":false}\r\nPUB ew.in.s100-t86400000.1.chat.lobby 10\r\nplain text\r\n')
    await page.locator('#chat-log .message', { hasText: 'plain text' }).waitFor()
    const publisher = await createPublisher({ servers: nats.url })
    t.teardown(() => publisher.close())
    const message: ChatMessage = {
      id: 'worker 2',
      name: 'Worker',
      text: 'a worker says hello',
      at: Date.now(),
    }
    await publisher.publish(chatChannel, 'message', message)
    await page.locator('#chat-log .message', { hasText: 'a worker says hello' }).waitFor()
    t.pass()
  })

  t.test('what is written in it arrives through the other process', async (t) => {
    const { first } = await read(t, urls[1]!, chatChannel, 'message')
    await page.locator('#chat-name').fill('Ann')
    await page.locator('#chat-text').fill('hello through NATS')
    await page.locator('#chat-text').press('Enter')
    t.match(await first<ChatMessage>(({ text }) => text === 'hello through NATS'), { name: 'Ann' })
    await page
      .locator('#chat-log .message[data-mine="true"][data-pending="false"]', {
        hasText: 'hello through NATS',
      })
      .waitFor()
    t.strictSame(faults, [])
  })
})
