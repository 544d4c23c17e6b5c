import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { stream } from '@durable-streams/client'
import t from 'tap'
import { createEventParser, openEventSources } from './event-source.js'
import { serverKey, startHttpNode, type HttpNode } from './http-node.js'

// Clients that others wrote, and the examples of the guide as they stand.

t.setTimeout(120_000)

const range = (from: number, to: number) =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)
const curl = process.env['CURL_PATH'] ?? 'curl'
const guide = readFileSync(new URL('../../../docs/library-free.md', import.meta.url), 'utf8')

const examples = (tag: string) =>
  [...guide.matchAll(new RegExp('```' + tag + '\\n([\\s\\S]*?)```', 'g'))].map(([, body]) => body!)

interface Message {
  offset: string
  event: string
  data: unknown
}

async function start(t: Parameters<typeof startHttpNode>[0], options = {}): Promise<HttpNode> {
  const node = await startHttpNode(t, options)
  node.app.everwire.channel('open:*', { history: { size: 5_000 }, public: true })
  node.app.everwire.channel('short:*', { history: { size: 3 }, public: true })
  node.app.everwire.channel('chat:*', { history: {}, subscribe: true, publish: true })
  node.app.everwire.channel('news:*', { history: {}, public: true })
  return node
}

t.test('the client of the Durable Streams draft', async (t) => {
  for (const live of ['sse', 'long-poll', true] as const)
    t.test(`reads through catch-up into live (${live}), over ends and without a hole`, async (t) => {
      const node = await start(t, { chunkSize: 50 })
      for (const n of range(1, 120)) await node.app.everwire.publish('open:a', 'n', n)
      const seen: unknown[] = []
      const response = await stream<Message>({ url: `${node.url}/channels/open:a`, offset: '-1', live })
      const batches: string[] = []
      const done = new Promise<void>((resolve) => {
        response.subscribeJson<Message>(async ({ items, offset }) => {
          seen.push(...items.map(({ data }) => data))
          batches.push(offset)
          if (seen.length >= 300) resolve()
        })
      })
      for (let n = 121; n <= 300; n++) {
        await node.app.everwire.publish('open:a', 'n', n)
        await node.clock.settle()
        // Every stream and poll that is open now ends.
        if (n % 40 === 0) await node.clock.advance(60_000)
      }
      await done
      response.cancel()
      t.strictSame(seen, range(1, 300))
      t.strictSame([...batches].sort(), batches, 'offsets sort as they came')
    })

  t.test('reads all there is, and stops', async (t) => {
    const node = await start(t, { chunkSize: 7 })
    for (const n of range(1, 30)) await node.app.everwire.publish('open:a', 'n', n)
    const response = await stream<Message>({ url: `${node.url}/channels/open:a`, offset: '-1' })
    // Left at its default, for with `live: false` this client asks once, however little it gets.
    const items = await response.json()
    t.strictSame(
      items.map(({ data }) => data),
      range(1, 30),
    )
    const { offset } = items[9]!
    const rest = await stream<Message>({ url: `${node.url}/channels/open:a`, offset })
    t.strictSame((await rest.json()).length, 20, 'the offset of any message is a place to go on from')
  })

  t.test('is told when what follows its offset is not kept any more', async (t) => {
    const node = await start(t)
    const { offset } = (await node.app.everwire.publish('short:a', 'n', 0))!
    const [first] = (await node.get('/channels/short:a')).json as Message[]
    for (const n of range(1, 5)) await node.app.everwire.publish('short:a', 'n', n)
    t.ok(offset >= 0)
    const error = (await stream({ url: `${node.url}/channels/short:a`, offset: first!.offset }).catch(
      (error: unknown) => error,
    )) as { status: number; json: { code: string; offset: string } }
    t.match(error, { status: 410, json: { code: 'gone', reason: 'expired' } })
    const rest = await stream<Message>({
      url: `${node.url}/channels/short:a`,
      offset: error.json.offset,
      live: false,
    })
    t.strictSame(
      (await rest.json()).map(({ data }) => data),
      [3, 4, 5],
    )
  })

  t.test('reads a channel without history from now on', async (t) => {
    const node = await start(t)
    node.app.everwire.channel('live:*', { subscribe: true })
    const headers = { authorization: 'Bearer ann' }
    const response = await stream<Message>({
      url: `${node.url}/channels/live:a`,
      offset: 'now',
      live: 'sse',
      headers,
    })
    const got = new Promise<unknown>((resolve) => {
      response.subscribeJson<Message>(async ({ items }) => {
        if (items.length > 0) resolve(items[0]!.data)
      })
    })
    const open = node.clock.pending
    for (let turn = 0; turn < 20_000 && node.clock.pending < open + 2; turn++) await node.clock.settle()
    await node.app.everwire.publish('live:a', 'n', 'hello')
    t.equal(await got, 'hello')
    response.cancel()
  })
})

/** Runs curl until it has got so many events, then kills it. */
async function readWithCurl(
  url: string,
  lastId: string,
  most: number,
  got: (value: unknown) => void,
): Promise<string> {
  const headers = [
    '-H',
    'accept: text/event-stream',
    ...(lastId === '' ? [] : ['-H', `last-event-id: ${lastId}`]),
  ]
  const child = spawn(curl, ['-sN', ...headers, url])
  const exited = once(child, 'exit')
  const parser = createEventParser()
  let id = lastId
  let left = most
  child.stdout.setEncoding('utf8')
  for await (const chunk of child.stdout) {
    parser.push(String(chunk))
    for (const event of parser.events.splice(0, left)) {
      got((JSON.parse(event.data) as Message).data)
      id = event.id
      left--
    }
    if (left === 0) break
  }
  child.kill('SIGKILL')
  await exited
  return id
}

t.test('curl', async (t) => {
  t.test('is killed and resumed while publications flow, and misses nothing', async (t) => {
    const node = await start(t)
    const total = 1_000
    const seen: unknown[] = []
    let sent = 0
    const flow = (async () => {
      while (sent < total) {
        if (sent < seen.length + 120) await node.app.everwire.publish('open:a', 'n', ++sent)
        await node.clock.settle()
      }
    })()
    let id = ''
    let kills = 0
    for (; seen.length < total; kills++) {
      const most = Math.min(total - seen.length, 150)
      id = await readWithCurl(`${node.url}/channels/open:a?offset=-1`, id, most, (value) => seen.push(value))
    }
    await flow
    t.strictSame(seen, range(1, total))
    t.equal(kills, 7)
  })
})

t.test('the examples of the guide', async (t) => {
  const run = async (command: string, args: string[], node: HttpNode, enough?: (text: string) => boolean) => {
    const env = { ...process.env, EVERWIRE: node.url, TOKEN: 'ann', KEY: serverKey }
    const child = spawn(command, args, { env })
    let text = ''
    child.stderr.on('data', (chunk) => (text += String(chunk)))
    child.stdout.on('data', (chunk) => {
      text += String(chunk)
      if (enough?.(text)) child.kill('SIGKILL')
    })
    await once(child, 'close')
    return { text, code: child.exitCode }
  }

  t.test('for a shell run, one after the other', async (t) => {
    const node = await start(t)
    const answers: string[] = []
    for (const example of examples('sh')) {
      const { text, code } = await run('bash', ['-euc', example.replaceAll('curl', `"${curl}"`)], node)
      t.equal(code, 0, `${example}\n${text}`)
      answers.push(text)
    }
    const [published, asServer, page, events] = answers
    t.match(published, /\{"offset":"\w+_\d{16}"\}/)
    t.match(asServer, /\{"offset":"\w+_\d{16}"\}.*\{\}/s)
    t.match(page, /stream-up-to-date: true.*"event":"message","data":\{"text":"hello"\}/s)
    t.match(events, /^id: \w+_\d{16}\ndata: .*"text":"hello"/m)
  })

  t.test('in Python reads on as publications come', async (t) => {
    const [program] = examples('python read.py')
    const probe = await run('python3', ['-c', 'print("here")'], {} as HttpNode).catch(() => undefined)
    if (!probe?.text.includes('here')) return void t.pass('reads on', { skip: 'there is no python3' })
    const node = await start(t)
    for (const n of range(1, 3)) await node.app.everwire.publish('chat:lobby', 'n', n)
    let sent = 3
    const { text } = await run('python3', ['-c', program!], node, (text) => {
      // The next is published once the last is seen.
      if (text.trim().endsWith(` n ${sent}`) && sent < 6)
        void node.app.everwire.publish('chat:lobby', 'n', ++sent)
      return text.includes(' n 6')
    })
    t.strictSame(
      [...text.matchAll(/ n (\d)$/gm)].map(([, n]) => Number(n)),
      range(1, 6),
    )
  })

  for (const [name, channel] of [
    ['public', 'news:today'],
    ['ticket', 'chat:lobby'],
  ] as const)
    t.test(`in a page (${name}) comes back by itself, and misses nothing`, async (t) => {
      const node = await start(t)
      const shown: unknown[] = []
      let resolve = () => {}
      const enough = new Promise<void>((_resolve) => (resolve = _resolve))
      const EventSource = openEventSources(t)
      const scope = {
        everwire: node.url,
        token: 'ann',
        EventSource,
        reload: (gap: unknown) => shown.push(gap),
        show: ({ data }: Message) => {
          if (shown.push(data) === 60) resolve()
        },
      }
      await node.app.everwire.publish(channel, 'n', 1)
      const [program] = examples(`js ${name}`)
      const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (
        ...text: string[]
      ) => (...args: unknown[]) => Promise<void>
      await new AsyncFunction(...Object.keys(scope), program!)(...Object.values(scope))
      for (const n of range(2, 60)) {
        await node.app.everwire.publish(channel, 'n', n)
        await node.clock.settle()
        if (n % 20 === 0) {
          // What is open ends, as after a minute, and comes back.
          const again = EventSource.next()
          await node.clock.advance(60_000)
          await again
        }
      }
      await enough
      t.strictSame(shown, range(1, 60))
    })
})
