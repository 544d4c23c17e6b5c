import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const script = fileURLToPath(new URL('../src/bus.ts', import.meta.url))

t.test('measures both buses beside bare NATS', async (t) => {
  const sizes = ['--messages=300', '--one-by-one=20', '--per-second=200', '--latency-ms=200', '--rounds=1']
  const child = spawn(
    process.execPath,
    ['--conditions=@everwire/source', '--import', 'tsx', script, ...sizes],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '' },
    },
  )
  let [out, errors] = ['', '']
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (errors += chunk))
  const [code] = (await once(child, 'close')) as [number]
  t.equal(code, 0, errors)
  const rows = out.split('\n').filter((line) => line.startsWith('| '))
  t.match(rows[0], /^\| +\| +bare NATS \| +ratio \| +nats\(\) \| +ratio \| +memoryBus\(\) \| +ratio \|$/)
  const measured = [
    'live, 1 channel: publish',
    'live, 100 channels: deliver',
    'history, 1 in flight: publish',
    'history, 256 in flight: deliver',
    'live, 200/s: p50',
    'history, 200/s: p99',
  ]
  for (const name of measured)
    t.ok(
      rows.some((row) => row.startsWith(`| ${name} `) && !/NaN|Infinity|undefined/.test(row)),
      name,
    )
  t.equal(rows.length, 14)
})
