import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { buildPage } from '../src/build-page.js'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const publicDir = fileURLToPath(new URL('../dist/public', import.meta.url))

t.before(async () => {
  if (!existsSync(publicDir)) await buildPage(publicDir, { conditions: ['@everwire/source'] })
})

interface Ended {
  code: number | null
  out: string
  errors: string
}

/** Runs the program; `onOutput` hears what it has printed so far. */
function run(args: string[], env = {}, onOutput: (out: string, kill: () => void) => void = () => {}) {
  return new Promise<Ended>((resolve) => {
    const child = spawn(
      process.execPath,
      ['--conditions=@everwire/source', '--import', 'tsx', main, ...args],
      { env: { ...process.env, NODE_OPTIONS: '', PORT: '', HOST: '', NATS_URL: '', ...env } },
    )
    let [out, errors] = ['', '']
    child.stdout.on('data', (data) => {
      out += data
      onOutput(out, () => child.kill('SIGTERM'))
    })
    child.stderr.on('data', (data) => (errors += data))
    child.on('close', (code) => resolve({ code, out, errors }))
  })
}

const oneLine = /^[^\n]+\n$/

t.test('refuses a bad option with one line, and an exit code that is not 0', async (t) => {
  const cases: [args: string[], env: object, line: RegExp][] = [
    [['--prot=1'], {}, /Unknown option --prot\. Known options: --port, --host, --nodes, --help\./],
    [['start'], {}, /Unexpected argument "start"/],
    [['--port', 'many'], {}, /whole number from 0 to 65535, not "many"/],
    [[], { PORT: '70000' }, /whole number from 0 to 65535, not "70000"/],
    [['--host'], {}, /--host needs a value/],
    [['--nodes'], {}, /--nodes must be a whole number from 1 to 9/],
    [['--nodes', '0'], {}, /from 1 to 9, not "0"/],
    [['--nodes', '10'], {}, /from 1 to 9, not "10"/],
    [['--nodes=two'], {}, /from 1 to 9, not "two"/],
    [[], { NATS_URL: 'localhost:4222' }, /NATS_URL must be addresses such as nats:.*, not "localhost:4222"/],
    [[], { NATS_URL: 'nats://a:1, http://b' }, /NATS_URL must be addresses/],
  ]
  for (const [args, env, line] of cases) {
    const { code, out, errors } = await run(args, env)
    t.equal(code, 1)
    t.equal(out, '')
    t.match(errors, line)
    t.match(errors, oneLine)
  }
})

t.test('says in one line that the port is taken', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.on('listening', resolve))
  const { port } = server.address() as AddressInfo
  const { code, errors } = await run([], { PORT: String(port) })
  server.close()
  t.equal(code, 1)
  t.match(errors, `Port ${port} is taken`)
  t.match(errors, oneLine)
})

for (const args of [[], ['--nodes', '2']])
  t.test(`says in one line that NATS cannot be reached ${args.join(' ')}`, async (t) => {
    const { code, out, errors } = await run(['--port', '0', ...args], { NATS_URL: 'nats://127.0.0.1:1' })
    t.equal(code, 1)
    t.equal(out, '')
    t.match(errors, /^NATS cannot be reached at nats:\/\/127\.0\.0\.1:1: /)
    t.match(errors, oneLine)
  })

t.test('says in one line that several nodes need nats-server', async (t) => {
  const { code, out, errors } = await run(['--port', '0', '--nodes', '2'], {
    NATS_SERVER_PATH: '/nothing/here',
  })
  t.equal(code, 1)
  t.equal(out, '')
  t.match(errors, /^Several nodes need nats-server: .*install nats-server 2\.9\.10 or newer/)
  t.match(errors, oneLine)
})

t.test('says where it is ready, and ends at once when it is asked to', async (t) => {
  const { code, out, errors } = await run(['--port', '0'], {}, (text, kill) => {
    if (text.includes('\n')) kill()
  })
  t.match(out, /^The demo is ready on http:\/\/localhost:\d+/)
  t.equal(errors, '')
  t.equal(code, 0)
})
