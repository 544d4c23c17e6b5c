import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { parse } from 'yaml'
import { at } from '../lib.mjs'

const { services, volumes } = parse(readFileSync(at('compose.yaml'), 'utf8'))
const { nats, redis } = services

t.test('compose.yaml has NATS and Redis, each with its major version, on this machine only, watched', (t) => {
  t.same(Object.keys(services), ['nats', 'redis'])
  t.match(nats.image, /^nats:2(\.\d+)?-alpine$/)
  t.match(redis.image, /^redis:\d+(\.\d+)?-alpine$/)
  t.same(nats.ports, ['127.0.0.1:4222:4222', '127.0.0.1:8222:8222'])
  t.same(redis.ports, ['127.0.0.1:6379:6379'])
  for (const { healthcheck } of [nats, redis])
    t.match(healthcheck, { test: ['CMD'], interval: /^\d+s$/, timeout: /^\d+s$/, retries: Number })
  t.equal(redis.healthcheck.test.slice(1).join(' '), 'redis-cli ping')
  t.end()
})

t.test('its NATS keeps JetStream in a volume', (t) => {
  const [, ...flags] = nats.command
  t.ok(flags.includes('--jetstream'))
  const folder = flags[flags.indexOf('--store_dir') + 1]
  const [volume, mounted] = nats.volumes[0].split(':')
  t.equal(mounted, folder)
  t.ok(Object.hasOwn(volumes, volume), 'the volume has a name, and so outlives its container')
  t.end()
})

const program = process.env.NATS_SERVER_PATH
const skip = program ? false : 'NATS_SERVER_PATH is not set; npm test sets it'

t.test(
  'a server with its flags starts JetStream on file, and is healthy where it is asked',
  { skip },
  async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'everwire-compose-'))
    const own = { '/data': folder, 8222: '-1' }
    const flags = nats.command.slice(1).map((flag) => own[flag] ?? flag)
    const server = spawn(program, [...flags, '--port', '-1'], { stdio: ['ignore', 'ignore', 'pipe'] })
    const ended = new Promise((resolve) => server.on('close', resolve))
    t.teardown(async () => {
      server.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true })
    })
    let monitor
    for await (const line of createInterface(server.stderr)) {
      monitor = /http monitor on [^ ]*:(\d+)/.exec(line)?.[1] ?? monitor
      if (line.includes('Server is ready')) break
    }
    const health = new URL(nats.healthcheck.test.at(-1))
    t.equal(health.port, '8222')
    health.port = monitor
    t.match(await (await fetch(health)).json(), { status: 'ok' })
    const { config } = await (await fetch(new URL('/jsz', health))).json()
    t.ok(config.store_dir.startsWith(folder))
  },
)
