import type { FastifyInstance, FastifyReply, FastifyRequest, InjectOptions } from 'fastify'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import type { PollingBridgeOptions } from '../src/server.js'
import { startNode, until } from './server-app.js'

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown

async function start(
  t: Test,
  handler: Handler,
  {
    bridge,
    poll,
    plugins,
  }: { bridge?: PollingBridgeOptions; poll?: object; plugins?: (app: FastifyInstance) => void } = {},
) {
  const node = await startNode(t, {
    ...(bridge && { bridge }),
    ...(plugins && { plugins }),
    routes: (app) =>
      void app.get('/orders', { config: { poll: { channel: 'orders:all', ...poll } } }, handler as never),
  })
  // So that no poll waits for it.
  await node.app.inject({ url: '/orders', headers: { 'x-first': '1' } })
  return node
}

/** A handler whose runs are let go one by one. */
function gated(answer: Handler) {
  const runs: { request: FastifyRequest; go: () => void }[] = []
  const handler: Handler = async (request, reply) => {
    if (!request.headers['x-first']) await new Promise<void>((resolve) => runs.push({ request, go: resolve }))
    return await answer(request, reply)
  }
  return { runs, handler }
}

t.test('polls that come together are one run of the handler', async (t) => {
  let runs = 0
  const { app } = await start(
    t,
    async (_request, reply) => {
      reply.code(203).header('x-run', String(++runs)).removeHeader('x-hook')
      return { runs }
    },
    {
      plugins: (app) =>
        void app.addHook('onRequest', async (_request, reply) => void reply.header('x-hook', '1')),
    },
  )
  const answers = await Promise.all(Array.from({ length: 50 }, () => app.inject('/orders')))
  t.equal(runs, 2, 'one of them before')
  for (const { statusCode, headers, body } of answers)
    t.strictSame([statusCode, headers['x-run'], headers['x-hook'], body], [203, '2', undefined, '{"runs":2}'])
  t.match(app.pollingBridge.state().executions, { run: 2, shared: 49, running: 0 })
})

t.test('two users never get each other’s answer', async (t) => {
  const { app } = await start(t, async (request) => ({ for: request.headers, ip: request.ip }))
  const different: InjectOptions[] = [
    { headers: { authorization: 'Bearer a' } },
    { headers: { authorization: 'Bearer b' } },
    { headers: { cookie: 'session=a' } },
    { headers: { cookie: 'session=b' } },
    { headers: { 'x-api-key': 'a' } },
    { headers: { 'x-api-key': 'b' } },
    { remoteAddress: '10.0.0.1' },
    { remoteAddress: '10.0.0.2' },
    { headers: { 'accept-language': 'de' } },
    { headers: { accept: 'text/html' } },
    { headers: { host: 'other.example' } },
    { url: '/orders?x=1' },
  ]
  const answers = await Promise.all(different.map((one) => app.inject({ url: '/orders', ...one })))
  t.match(app.pollingBridge.state().executions, { run: 13, shared: 0 })
  answers.forEach(({ body }, index) => {
    const { headers = {}, remoteAddress = '127.0.0.1' } = different[index]!
    t.match(JSON.parse(body), { for: headers, ip: remoteAddress })
  })
})

t.test('the option says who a user is; who is nobody is told apart by headers', async (t) => {
  const { app } = await start(t, async (request) => ({ user: request.headers['x-user'] ?? null }), {
    bridge: { user: (request) => request.headers['x-user'] as string | undefined },
  })
  const ask = (user: string | undefined, trace: string) =>
    app.inject({ url: '/orders', headers: { ...(user && { 'x-user': user }), 'x-trace': trace } })
  const answers = await Promise.all([ask('ann', '1'), ask('ann', '2'), ask('bob', '3'), ask(undefined, '4')])
  t.strictSame(
    answers.map((answer) => answer.json().user),
    ['ann', 'ann', 'bob', null],
  )
  t.match(app.pollingBridge.state().executions, { run: 4, shared: 1 })
})

t.test('who shares is still asked by every hook, and keeps its own headers', async (t) => {
  let asked = 0
  const { app } = await start(t, async () => ({ n: 1 }), {
    poll: { shared: true },
    plugins(app) {
      app.addHook('preHandler', async (request, reply) => {
        asked++
        reply.header('x-for', request.headers.authorization ?? 'none')
        if (request.headers.authorization === 'bad') return await reply.code(403).send({})
      })
      app.addHook('onSend', async (request, reply, payload) => {
        reply.header('x-sent-to', request.headers.authorization ?? 'none')
        return `${String(payload)} for ${request.headers.authorization}`
      })
    },
  })
  const answers = await Promise.all(
    ['a', 'bad', 'b', 'c'].map((authorization) => app.inject({ url: '/orders', headers: { authorization } })),
  )
  t.equal(asked, 5)
  t.strictSame(
    answers.map(({ statusCode, headers, body }) => [
      statusCode,
      headers['x-for'],
      headers['x-sent-to'],
      body,
    ]),
    [
      [200, 'a', 'a', '{"n":1} for a'],
      [403, 'bad', 'bad', '{} for bad'],
      [200, 'b', 'b', '{"n":1} for b'],
      [200, 'c', 'c', '{"n":1} for c'],
    ],
  )
  t.match(app.pollingBridge.state().executions, { run: 2, shared: 2 })
})

t.test('Vary of the first answer holds for those who wait for it already', async (t) => {
  let runs = 0
  const { app } = await start(
    t,
    async (request, reply) => {
      runs++
      if (!request.headers['x-first']) reply.header('vary', 'X-Tenant')
      return { tenant: request.headers['x-tenant'] ?? null }
    },
    { poll: { shared: true } },
  )
  const tenants = ['a', 'b', 'a', 'b', 'c', 'b']
  const ask = () =>
    Promise.all(
      tenants.map(async (tenant) =>
        (await app.inject({ url: '/orders', headers: { 'x-tenant': tenant } })).json(),
      ),
    )
  const expected = tenants.map((tenant) => ({ tenant }))
  t.strictSame(await ask(), expected)
  t.equal(runs, 4, 'the others as one run for each')
  t.strictSame(await ask(), expected)
  t.equal(runs, 7)
})

t.test('what cannot be shared runs for each', async (t) => {
  const kinds: Record<string, Handler> = {
    cookie: async (_request, reply) => reply.header('set-cookie', `id=${Math.random()}`).send({}),
    star: async (_request, reply) => reply.header('vary', '*').send({}),
    stream: async () => Readable.from(['x']),
    hijack: (_request, reply) => void reply.hijack().raw.end('x'),
    hook: async () => 'cookie by a hook',
  }
  for (const [kind, handler] of Object.entries(kinds)) {
    let runs = 0
    const { app } = await start(
      t,
      (request, reply) => {
        runs++
        return handler(request, reply)
      },
      {
        plugins(app) {
          if (kind === 'hook')
            app.addHook(
              'onSend',
              async (_request, reply) => void reply.header('set-cookie', String(Math.random())),
            )
        },
      },
    )
    for (let time = 0; time < 2; time++) {
      const answers = await Promise.all([1, 2, 3].map(() => app.inject('/orders')))
      t.strictSame(
        answers.map(({ statusCode }) => statusCode),
        [200, 200, 200],
        kind,
      )
      if (kind === 'cookie' || kind === 'hook')
        t.equal(new Set(answers.map(({ headers }) => String(headers['set-cookie']))).size, 3)
    }
    t.equal(runs, 7, kind)
  }
})

t.test('an error is shared as an error', async (t) => {
  let runs = 0
  const { app } = await start(t, async (request) => {
    runs++
    if (!request.headers['x-first']) throw Object.assign(new Error('busy'), { statusCode: 503 })
  })
  const answers = await Promise.all([1, 2, 3].map(() => app.inject('/orders')))
  t.equal(runs, 2)
  for (const answer of answers) t.match([answer.statusCode, answer.json().message], [503, 'busy'])
})

t.test('whoever writes and then asks sees the write', async (t) => {
  let value = 0
  const { runs, handler } = gated(() => ({ value }))
  // The state is read at the beginning, as databases do; the answer takes its time.
  const { app } = await start(t, async (request, reply) => {
    const seen = value
    await handler(request, reply)
    return { value: seen }
  })
  const first = app.inject('/orders')
  await until(() => runs.length === 1, 'the first runs')
  value = 1
  const second = app.inject('/orders')
  const third = app.inject('/orders')
  runs[0]!.go()
  t.equal((await first).json().value, 0)
  await until(() => runs.length === 2, 'the next runs')
  value = 2
  const fourth = app.inject('/orders')
  runs[1]!.go()
  t.equal((await second).json().value, 1)
  t.equal((await third).json().value, 1)
  await until(() => runs.length === 3, 'the one after runs')
  runs[2]!.go()
  t.equal((await fourth).json().value, 2)
})

t.test('the same, on sockets and without order', async (t) => {
  let value = 0
  const { app } = await start(
    t,
    async () => {
      const seen = value
      await new Promise((resolve) => setImmediate(resolve))
      return { value: seen }
    },
    { poll: { shared: true } },
  )
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const ask = async () =>
    ((await (await fetch(`http://127.0.0.1:${port}/orders`)).json()) as { value: number }).value
  let stale = 0
  const writeAndAsk = async () => {
    for (let round = 0; round < 40; round++) {
      const written = ++value
      if ((await ask()) < written) stale++
    }
  }
  await Promise.all(Array.from({ length: 8 }, writeAndAsk))
  t.equal(stale, 0)
  t.ok(app.pollingBridge.state().executions.shared > 0, 'and some were shared')
})

t.test('a handler that hangs holds up nobody for longer than slowMs', async (t) => {
  let runs = 0
  const { app, clock } = await start(t, async () => {
    if (++runs === 2) await new Promise<never>(() => {})
    return { runs }
  })
  void app.inject('/orders').catch(() => {})
  const waiting = app.inject('/orders')
  await until(() => runs === 2, 'it hangs')
  const next = app.inject('/orders')
  await clock.advance(999)
  t.equal(runs, 2)
  await clock.advance(1)
  t.strictSame([(await waiting).json(), (await next).json()], [{ runs: 3 }, { runs: 3 }])
})

t.test('a slow handler answers those who wait for it, though others have begun beside it', async (t) => {
  const { runs, handler } = gated(() => ({}))
  const { app, clock } = await start(t, handler)
  const polls = [1, 2, 3].map(() => app.inject('/orders'))
  await until(() => runs.length === 1, 'the first runs')
  await clock.advance(1_000)
  await until(() => runs.length === 2, 'another runs beside it')
  await clock.advance(5_000)
  t.equal(runs.length, 2, 'nobody leaves twice')
  runs[0]!.go()
  t.equal((await polls[0])?.statusCode, 200)
  t.equal((await polls[2])?.statusCode, 200, 'got it from the first')
  runs[1]!.go()
  t.equal((await polls[1])?.statusCode, 200)
})

t.test('a client that goes away takes nobody with it', async (t) => {
  const { runs, handler } = gated((request) => {
    if (request.raw.destroyed || request.socket.destroyed) throw new Error('gone')
    return { ok: true }
  })
  const { app } = await start(t, handler, { poll: { shared: true } })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const leader = httpRequest({ port, host: '127.0.0.1', path: '/orders' }).on('error', () => {})
  leader.end()
  await until(() => runs.length === 1, 'the first runs')
  leader.destroy()
  // It joins the next, which begins at once.
  const other = fetch(`http://127.0.0.1:${port}/orders`)
  await until(() => runs.length === 2, 'the next runs')
  runs[0]!.go()
  runs[1]!.go()
  t.strictSame(await (await other).json(), { ok: true })
})

t.test('the clients that wait for one who goes away are answered', async (t) => {
  let leaderSocket: { destroy(): void } | undefined
  let runs = 0
  const there: (() => void)[] = []
  const bothThere = async (request: FastifyRequest) => {
    if (request.headers['x-first']) return
    await new Promise<void>((resolve) => {
      if (there.push(resolve) === 2) for (const go of there) go()
    })
  }
  const { app } = await start(
    t,
    async (request) => {
      if (request.headers['x-first']) return {}
      if (++runs > 1) return { ok: true }
      leaderSocket = request.socket
      return await new Promise<never>(() => {})
    },
    { poll: { shared: true }, plugins: (app) => void app.addHook('preHandler', bothThere) },
  )
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const polls = [1, 2].map(async () => (await fetch(`http://127.0.0.1:${port}/orders`)).json())
  await until(() => runs === 1, 'one runs')
  leaderSocket!.destroy()
  const results = await Promise.allSettled(polls)
  t.strictSame(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
})

t.test('off runs every handler by itself', async (t) => {
  let runs = 0
  const { app } = await start(t, async () => ({ runs: ++runs }), { bridge: { mode: 'off' } })
  const answers = await Promise.all([1, 2, 3].map(() => app.inject('/orders')))
  t.equal(runs, 4)
  for (const { headers } of answers) t.notOk(headers.etag ?? headers['cache-control'] ?? headers.link)
})
