import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createPlainClient } from '../plain-client.mjs'
import { createScriptedServer, serverFrame } from './scripted-server.js'

const source = readFileSync(new URL('../plain-client.mjs', import.meta.url), 'utf8')

t.test('the client is one file of at most 300 lines, and takes nothing but modules of Node', async (t) => {
  t.ok(source.split('\n').length - 1 <= 300, `${source.split('\n').length - 1} lines`)
  const imports = [...source.matchAll(/\b(?:from|import|require)\b\s*\(?\s*'([^']+)'/g)].map(
    ([, name]) => name,
  )
  t.strictSame(imports, ['node:crypto', 'node:http', 'node:net'])
  t.notMatch(source, /\b(?:fetch|WebSocket|EventSource)\(/)
})

const open = async (t: Test, transport: string, welcome?: object) => {
  const server = await createScriptedServer(welcome)
  const client = createPlainClient({
    url: server.url,
    transports: [transport],
    answer: (_method: string, input: unknown) => input,
    getToken: undefined,
    timers: undefined,
    backoffMs: 1,
  })
  t.teardown(() => {
    client.close()
    server.close()
  })
  await server.hears(([kind]) => kind === 'attach')
  return { server, client }
}

for (const transport of ['websocket', 'sse', 'long-polling']) {
  t.test(`${transport}: a ping is answered with the number of session frames that came`, async (t) => {
    const { server } = await open(t, transport)
    server.send(['ping', 0])
    t.strictSame(await server.hears(([kind]) => kind === 'pong'), ['pong', 0])
    server.send(['void', 4], ['req', 'ask', 1_000], ['ping', 5])
    t.strictSame(await server.hears(([kind, count]) => kind === 'pong' && count !== 0), ['pong', 5])
    t.strictSame(await server.hears(([kind]) => kind === 'reply'), ['reply', 5])
  })

  t.test(`${transport}: a ping with another count ends the session`, async (t) => {
    const { server } = await open(t, transport)
    server.send(['void', 2], ['ping', 3])
    t.strictSame(await server.hears(([kind]) => kind === 'close'), ['close', 'numbering'])
    const isNew = ([kind, about]: readonly unknown[]) =>
      kind === 'attach' && (about as { cursor: number }).cursor === 0
    await server.hears((header) => isNew(header) && server.heard.indexOf(header) > 0)
  })

  t.test(`${transport}: what is not Everwire is asked again after the backoff`, async (t) => {
    let asked = 0
    const server = createServer((_request, response) => {
      asked++
      response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad Gateway</h1>')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const waits: number[] = []
    await new Promise<void>((resolve) => {
      const setTimeout = (_run: () => void, ms: number) => {
        waits.push(ms)
        if (waits.length === 2) resolve()
      }
      const client = createPlainClient({
        url: `http://127.0.0.1:${port}/everwire`,
        transports: [transport],
        answer: undefined,
        getToken: undefined,
        timers: { setTimeout, clearTimeout: () => {} },
        linkTimeoutMs: 5_000,
        backoffMs: 500,
      })
      t.teardown(() => {
        client.close()
        server.close()
        server.closeAllConnections()
      })
    })
    t.equal(asked, 1)
    t.ok(waits[0] === 5_000 && waits[1]! <= 500, 'first the time for the attempt, then the backoff')
  })

  t.test(`${transport}: what came is confirmed before the server asks`, async (t) => {
    const { server } = await open(t, transport, { ackFrames: 4 })
    server.send(['void', 1], ['void', 1], ['void', 1], ['void', 1])
    const [, count] = await server.hears(([kind]) => kind === 'seen')
    t.ok(Number(count) >= 2 && Number(count) <= 4)
  })
}

t.test('websocket: fragments, with a ping between them, make one message', async (t) => {
  const { server, client } = await open(t, 'websocket')
  const text = Buffer.from('["req","echo",1000]\n"å"')
  server.sendBytes(serverFrame(0x01, text.subarray(0, 7)))
  server.sendBytes(serverFrame(0x89, 'are you there'))
  server.sendBytes(serverFrame(0x00, text.subarray(7, 22)))
  server.sendBytes(serverFrame(0x80, text.subarray(22)))
  await server.hears(([kind]) => kind === 'reply')
  const pong = server.raw.find(({ opcode }) => opcode === 10)
  t.equal(pong?.payload.toString(), 'are you there')
  t.equal(server.raw.at(-1)?.payload.toString(), '["reply",1]\n"å"')

  const large = Buffer.concat([Buffer.from('["req","echo",1000]\n'), Buffer.alloc(70_000, 0xfe)])
  server.sendBytes(serverFrame(0x82, large))
  await server.hears(([kind, number]) => kind === 'reply' && number === 2)
  t.equal(server.raw.at(-1)?.opcode, 2)
  t.equal(server.raw.at(-1)?.payload.length, '["reply",2]\n'.length + 70_000)

  const pending = client.request('echo')
  server.sendBytes(
    serverFrame(0x88, Buffer.concat([Buffer.from([4000 >> 8, 4000 & 0xff]), Buffer.from('closed')])),
  )
  await t.rejects(pending, { code: 'closed' }, 'the reason of a close is the code')
  await server.hears(([kind]) => kind === 'opcode 8')
})
