import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { everwire } from 'everwire/server'
import Fastify from 'fastify'
import { launchChromium, withoutChromium } from '@everwire/testkit/chromium'
import type { Browser } from 'playwright-core'
import t from 'tap'

// The client as one file for a script tag, in a real browser.

const home = new URL('../../../packages/everwire/', import.meta.url)
const options = { skip: withoutChromium }
// Inside the package, so that the imports of the README's program resolve as they do for who installed them.
const folder = mkdtempSync(path.join(import.meta.dirname, 'browser-build-'))
const bundle = path.join(folder, 'everwire.js')
let browser: Browser

t.before(async () => {
  const build = [fileURLToPath(new URL('build.mjs', home)), '--source', '--outfile', bundle]
  await promisify(execFile)(process.execPath, build)
  if (withoutChromium) return
  browser = await launchChromium()
})
t.teardown(async () => {
  await browser?.close()
  rmSync(folder, { recursive: true })
})

const policy = "default-src 'none'; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'"

// The names in `window` are taken before and after the script; "data-done" says that a page has said all.
const files: Record<string, string> = {
  '/': `<!doctype html><title>x</title><script src="before.js"></script><script src="everwire.js"></script>
    <script src="page.js"></script><output></output>`,
  '/before.js': `
    globalThis.before = new Set(Object.getOwnPropertyNames(globalThis)).add('before').add('violations')
    globalThis.violations = []
    document.addEventListener('securitypolicyviolation', ({ violatedDirective }) => violations.push(violatedDirective))`,
  '/page.js': `
    const added = Object.getOwnPropertyNames(globalThis).filter((name) => !before.has(name))
    const { createClient, EverwireError, longPolling, sse, webSocket } = Everwire
    const ways = { 'long-polling': longPolling, sse, websocket: webSocket }
    const way = ways[location.hash.slice(1)]
    const client = createClient({ url: '/everwire', ...(way ? { transports: [way()] } : {}) })
    const room = client.channel('room:a')
    const received = []
    const bytes = new Promise((resolve) => room.on('bytes', resolve))
    const text = new Promise((resolve) => room.on('text', resolve))
    const done = (async () => {
      await room.subscribe()
      await room.publish('text', { text: 'from a script tag: ü' })
      await room.publish('bytes', new Uint8Array([0, 13, 255]))
      const code = await client.channel('closed:a').subscribe().catch((error) => error instanceof EverwireError && error.code)
      return { added, violations, code, transport: client.transport, text: await text, bytes: [...(await bytes)] }
    })()
    done.catch((error) => ({ error: String(error) })).then((seen) => {
      document.querySelector('output').textContent = JSON.stringify(seen)
    })`,
}

t.test('a plain page under a strict policy connects, publishes and receives', options, async (t) => {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(everwire, { authenticate: () => ({ userId: null }) })
  app.everwire.channel('room:*', { history: { size: 10 }, subscribe: true, publish: true })
  for (const [name, text] of Object.entries({ ...files, '/everwire.js': readFileSync(bundle, 'utf8') }))
    app.get(name, (_request, reply) =>
      reply
        .header('content-security-policy', policy)
        .type(name === '/' ? 'text/html; charset=utf-8' : 'text/javascript; charset=utf-8')
        .send(text),
    )
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())

  for (const wanted of ['', 'websocket', 'sse', 'long-polling']) {
    const page = await browser.newPage()
    const problems: string[] = []
    page.on('pageerror', (error) => problems.push(String(error)))
    await page.goto(`${address}/#${wanted}`)
    const output = page.locator('output:not(:empty)')
    await output.waitFor({ state: 'attached' })
    t.strictSame(
      JSON.parse((await output.textContent())!),
      {
        added: ['Everwire'],
        violations: [],
        code: 'unknown-channel',
        transport: wanted || 'websocket',
        text: { text: 'from a script tag: ü' },
        bytes: [0, 13, 255],
      },
      wanted || 'the usual order',
    )
    t.strictSame(problems, [])
    await page.close()
  }
})

t.test('one file, with its source map, and nothing that makes code of text', async (t) => {
  const text = readFileSync(bundle, 'utf8')
  t.match(text, /^\/\*! everwire \d+\.\d+\.\d+ \| MIT \*\/\n/)
  t.match(text, /\n\/\/# sourceMappingURL=everwire\.js\.map\n$/)
  t.notMatch(text, /\beval\b|\bFunction\(|\bimport\b/)
  const { sources } = JSON.parse(readFileSync(`${bundle}.map`, 'utf8')) as { sources: string[] }
  t.ok(sources.some((source) => source.endsWith('client/src/client.ts')))
})

const readme = readFileSync(new URL('README.md', home), 'utf8')
const file = (name: string) =>
  new RegExp('```\\w+ ' + name.replace('.', '\\.') + '\\n([\\s\\S]*?)```').exec(readme)![1]!

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

t.test("the program on the README's first screen is a chat", options, async (t) => {
  const port = await freePort()
  // As it stands there, but for the port, and for the bundle, which is not built into its place yet.
  const program = file('server.mjs')
    .replaceAll('8080', String(port))
    .replace("import.meta.resolve('everwire/browser')", JSON.stringify(pathToFileURL(bundle)))
  writeFileSync(path.join(folder, 'server.mjs'), `${program}\nconsole.log('ready')\n`)
  writeFileSync(path.join(folder, 'index.html'), file('index.html'))
  const child = spawn(
    process.execPath,
    ['--conditions=@everwire/source', '--import', 'tsx', path.join(folder, 'server.mjs')],
    { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } },
  )
  t.teardown(() => child.kill('SIGKILL'))
  await once(createInterface(child.stdout), 'line')

  const [ann, bob] = [await browser.newPage(), await browser.newPage()]
  for (const page of [ann, bob]) {
    await page.goto(`http://127.0.0.1:${port}`)
    await page.locator('output', { hasText: 'websocket' }).waitFor()
  }
  await ann.locator('input').fill('hello')
  await ann.keyboard.press('Enter')
  for (const page of [ann, bob]) t.equal(await page.locator('li').first().textContent(), 'hello')
})
