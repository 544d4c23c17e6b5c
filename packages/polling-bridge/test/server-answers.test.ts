import compress from '@fastify/compress'
import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type InjectOptions,
} from 'fastify'
import { Readable } from 'node:stream'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { readLink } from '../src/announcement.js'
import { createNode, startNode } from './server-app.js'

const rows = [{ id: 1, note: 'päckchen' }, { id: 2 }]

/** Routes as applications have them; `poll` or nothing. */
function routes(app: FastifyInstance, { poll }: { poll?: object }): void {
  const get = (
    url: string,
    handler: (request: FastifyRequest, reply: FastifyReply) => unknown,
    more = {},
  ) => {
    const config = poll && { poll: { ...poll, channel: `orders:${url.slice(1)}` } }
    app.get(url, { ...more, ...(config && { config }) }, handler as never)
  }
  get('/json', async () => rows)
  get('/sync', () => rows)
  get('/callback', (_request, reply) => void setImmediate(() => reply.send(rows)))
  get('/return-reply', async (_request, reply) => reply.send(rows))
  get('/text', async () => 'plain')
  get('/json-text', async (_request, reply) => reply.type('application/json').send('{"a": 1}'))
  get('/html', async (_request, reply) => reply.type('text/html').send('<p>'))
  get('/buffer', async () => Buffer.from([1, 2, 3]))
  get('/array', async () => new Uint8Array([1, 2, 3]))
  get('/stream', async () => Readable.from(['a', 'b']))
  get('/response', async () => new Response('x', { status: 201, headers: { 'x-mine': '1' } }))
  get('/hijack', (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, { 'x-raw': '1' }).end('raw')
  })
  get('/throws', async () => {
    throw Object.assign(new Error('teapot'), { statusCode: 418 })
  })
  get('/throws-object', async () => {
    // eslint-disable-next-line no-throw-literal
    throw { statusCode: 409, message: 'odd' } as unknown as Error
  })
  get('/throws-sync', () => {
    throw new Error('at once')
  })
  get('/fails', async (_request, reply) => reply.code(404).send({ error: 'none' }))
  get('/sends-error', (_request, reply) => void reply.code(502).send(new Error('gateway')))
  get('/empty', async (_request, reply) => reply.code(204).send())
  get('/undefined', async (_request, reply) => void reply.header('x-mine', '1'))
  get('/null', async () => null)
  get('/cookie', async (_request, reply) => reply.header('set-cookie', ['a=1', 'b=2']).send(rows))
  get('/headers', async (_request, reply) => reply.headers({ 'x-mine': '1', vary: 'x-tenant' }).send(rows))
  get('/redirect', async (_request, reply) => reply.redirect('/json'))
  get('/own-etag', async (_request, reply) =>
    reply.headers({ etag: '"mine"', 'cache-control': 'max-age=9', link: '</x>; rel="next"' }).send(rows),
  )
  get('/serializer', async (_request, reply) => reply.serializer(() => 'custom').send(rows))
  get('/trailer', async (_request, reply) => {
    reply.trailer('x-sum', async () => 'sum')
    return rows
  })
  get('/not-found', (_request, reply) => void reply.callNotFound())
  get('/schema', async () => ({ shown: 1, hidden: 2 }), {
    schema: { response: { 200: { type: 'object', properties: { shown: { type: 'number' } } } } },
  })
  get('/bad-schema', async () => ({ n: Symbol('x') }), {
    schema: { response: { 200: { type: 'object', properties: { n: { type: 'string' } } } } },
  })
  get('/prefix/:id', async (request) => ({ id: (request.params as { id: string }).id }))
}

const paths = [
  ...['json', 'sync', 'callback', 'return-reply', 'text', 'json-text', 'html', 'buffer', 'array', 'stream'],
  ...['response', 'hijack', 'throws', 'throws-object', 'throws-sync', 'fails', 'sends-error', 'empty'],
  ...['undefined', 'null', 'cookie', 'headers', 'redirect', 'own-etag', 'serializer', 'trailer', 'not-found'],
  ...['schema', 'bad-schema', 'prefix/7'],
].map((path) => `/${path}`)
const added = ['etag', 'cache-control', 'link', 'stream-next-offset', 'date']

async function observe(app: FastifyInstance, request: InjectOptions) {
  const { statusCode, headers, rawPayload, trailers } = await app.inject(request)
  return { statusCode, headers: { ...headers }, body: rawPayload.toString('latin1'), trailers }
}

const poll = { channel: 'orders:all' }

t.test('answers are as they were but for what is added', async (t) => {
  const bare = Fastify()
  routes(bare, {})
  const { app } = await startNode(t, { routes: (app) => routes(app, { poll }) })
  for (const method of ['GET', 'HEAD'] as const)
    for (const url of paths) {
      const before = await observe(bare, { method, url })
      // Twice: what the first one taught must change nothing. Then two at once, of which one may get the other's.
      const observed = [await observe(app, { method, url }), await observe(app, { method, url })]
      observed.push(...(await Promise.all([0, 1].map(() => observe(app, { method, url })))))
      for (const after of observed) {
        for (const name of added)
          if (before.headers[name] === undefined || name === 'date') delete after.headers[name]
        // What was there is still there.
        if (before.headers.link) after.headers.link = String(after.headers.link).split(', ')[0]!
        delete before.headers.date
        t.strictSame(after, before, `${method} ${url}`)
      }
    }
})

t.test('a client that has the state gets 304, with the headers of the answer', async (t) => {
  const { app } = await startNode(t, { routes: (app) => routes(app, { poll }) })
  for (const method of ['GET', 'HEAD'] as const)
    for (const url of ['/json', '/text', '/buffer', '/own-etag', '/schema']) {
      const { headers } = await app.inject({ method, url })
      const etag = headers.etag as string
      t.ok(etag, url)
      const again = await app.inject({ method, url, headers: { 'if-none-match': `"x", ${etag}` } })
      t.match([again.statusCode, again.body], [304, ''], url)
      for (const name of ['etag', 'cache-control', 'link', 'stream-next-offset'])
        t.equal(again.headers[name], headers[name], `${url} ${name}`)
      t.notOk(again.headers['content-type'])
      const other = await app.inject({ method, url, headers: { 'if-none-match': '"x"' } })
      t.equal(other.statusCode, 200)
    }
  // fetch adds that to a request with a condition of the page's own.
  const { headers } = await app.inject({ url: '/json' })
  const asked = { 'if-none-match': headers.etag as string, 'cache-control': 'no-cache', pragma: 'no-cache' }
  t.equal((await app.inject({ url: '/json', headers: asked })).statusCode, 304)
  // A cache that keeps an announcement must not go on with it when there is none any more.
  const polling = await app.inject({ url: '/json', headers: { ...asked, 'everwire-mode': 'polling' } })
  t.match([polling.statusCode, polling.headers.link], [200, undefined])
  t.not(polling.headers.etag, headers.etag)
})

t.test('says which state it is, and where its changes are published', async (t) => {
  const { app } = await startNode(t, {
    routes(app) {
      app.get('/mine', { config: { poll } }, async () => rows)
      app.get('/shared', { config: { poll: { channel: 'orders:ä', shared: true } } }, async () => rows)
      app.get(
        '/numbered',
        { config: { poll: { channel: 'orders:n', revision: (data) => (data as { v: number }).v } } },
        async () => ({ v: 42 }),
      )
      app.get(
        '/own',
        { config: { poll: { channel: 'orders:o' } } },
        async (_request, reply) =>
          await reply
            .headers({ etag: '"mine"', 'cache-control': 'max-age=9', link: '</x>; rel="next"' })
            .send(rows),
      )
    },
  })
  const position = await app.everwire.publish('orders:ä', 'else', 1)
  const mine = await app.inject('/mine')
  t.equal(mine.headers['cache-control'], 'private, no-cache')
  t.match(mine.headers.etag, /^W\/"[\w-]{22}"$/)
  const shared = await app.inject('/shared')
  t.equal(shared.headers['cache-control'], 'no-cache')
  t.equal(shared.headers.etag, mine.headers.etag)
  const link = readLink(shared.headers.link as string)!
  t.match(link, { channel: 'orders:ä', position })
  t.match(
    link.href,
    `/everwire/channels/orders%3A%C3%A4?offset=${String(shared.headers['stream-next-offset'])}`,
  )
  t.equal(shared.headers.etag, `W/"${link.revision}"`)
  const read = await app.inject(link.href)
  t.equal(read.statusCode, 200)
  const numbered = await app.inject('/numbered')
  // Users have the same numbers of different data, and perhaps one browser.
  t.not(numbered.headers.etag, 'W/"42"')
  t.equal(readLink(numbered.headers.link as string)!.revision, 42)
  const own = await app.inject('/own')
  t.match(own.headers, {
    etag: '"mine"',
    'cache-control': 'max-age=9',
    link: /^<\/x>; rel="next", <\/everwire/,
  })
  t.equal(readLink(own.headers.link as string)!.channel, 'orders:o')
})

t.test('compression comes after, and 304 without it', async (t) => {
  const plugins = async (app: FastifyInstance) => void (await app.register(compress, { threshold: 0 }))
  const { app } = await startNode(t, { plugins, routes: (app) => routes(app, { poll }) })
  const plain = await app.inject('/json')
  const packed = await app.inject({ url: '/json', headers: { 'accept-encoding': 'gzip' } })
  t.equal(packed.headers['content-encoding'], 'gzip')
  t.equal(gunzipSync(packed.rawPayload).toString(), plain.body)
  t.equal(packed.headers.etag, plain.headers.etag)
  const again = await app.inject({
    url: '/json',
    headers: { 'accept-encoding': 'gzip', 'if-none-match': packed.headers.etag as string },
  })
  t.match([again.statusCode, again.body], [304, ''])
})

t.test('pages of other origins may read what is added, beside what they could', async (t) => {
  const cors =
    (headers: Record<string, string>) => async (_: unknown, reply: { headers(h: object): unknown }) =>
      void reply.headers(headers)
  const { app } = await startNode(t, {
    routes(app) {
      const get = (url: string, headers: Record<string, string>) =>
        app.get(
          url,
          { config: { poll: { channel: `orders:${url}` } }, onRequest: cors(headers) as never },
          async () => rows,
        )
      get('/none', {})
      get('/some', { 'access-control-allow-origin': 'https://a.example' })
      get('/more', { 'access-control-allow-origin': '*', 'access-control-expose-headers': 'X-Mine, etag' })
    },
  })
  const exposed = async (url: string) => (await app.inject(url)).headers['access-control-expose-headers']
  t.equal(await exposed('/none'), undefined)
  t.equal(await exposed('/some'), 'ETag, Link, Stream-Next-Offset')
  t.equal(await exposed('/more'), 'X-Mine, etag, Link, Stream-Next-Offset')
})

t.test('a request that a hook of the application answers is left alone', async (t) => {
  const { app } = await startNode(t, {
    plugins: (app) =>
      void app.addHook('preHandler', async (request, reply) => {
        if (!request.headers.authorization) return await reply.code(401).send({ error: 'who?' })
      }),
    routes: (app) => void app.get('/json', { config: { poll } }, async () => rows),
  })
  const refused = await app.inject('/json')
  t.match([refused.statusCode, refused.headers.etag, refused.headers.link], [401, undefined, undefined])
  t.ok((await app.inject({ url: '/json', headers: { authorization: 'x' } })).headers.link)
})

t.test('misuse is refused, naming the fix', async (t) => {
  const wrong = (config: object, url = '/x') =>
    createNode(t, {
      routes: (app) => void app.get(url, { config: { poll: config as never } }, async () => rows),
    })
  await t.rejects(wrong({}), /config.poll of \/x: channel must be/)
  await t.rejects(wrong({ channel: 'orders:1', watchMs: 0 }), /watchMs/)
  await t.rejects(wrong({ channel: 'orders:1', source: 'x' }), /source must be a function/)
  await t.rejects(wrong({ channel: 'orders:1', shared: 1 }), /shared/)
  await t.rejects(
    createNode(t, { routes: (app) => void app.post('/x', { config: { poll } }, async () => rows) }),
    /only GET/,
  )
  for (const [bridge, message] of [
    [{ mode: 'on' }, /mode must be one of off, polling, live/],
    [{ rollout: 101 }, /rollout/],
    [{ maxChannels: 0 }, /maxChannels/],
    [{ snapshotBytes: 1.5 }, /snapshotBytes/],
    [{ user: 'x' }, /user must be a function/],
  ] as const)
    await t.rejects(createNode(t, { bridge: bridge as never, routes: () => {} }), message)
  for (const channel of ['unruled:1', 'live:1']) {
    const { app } = await createNode(t, {
      plugins: (app) => app.everwire.channel('live:*', {}),
      routes: (app) => void app.get('/x', { config: { poll: { channel } } }, async () => rows),
    })
    await t.rejects(
      async () => void (await app.ready()),
      new RegExp(`config.poll of /x: the channel ${channel} needs a rule with history`),
    )
  }
})
