import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'

// A short slice of `npm run verify:cluster`, on real NATS, behind a real HAProxy; and that it would notice.

t.setTimeout(280_000)

const script = fileURLToPath(new URL('../verify/cluster.ts', import.meta.url))

async function verify(...args: string[]): Promise<{ code: number; last: string; output: string }> {
  const child = spawn(
    process.execPath,
    ['--conditions=@everwire/source', '--import', 'tsx', script, '--brief', '--seed', '1', ...args],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '' },
    },
  )
  let output = ''
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => {
    out += String(chunk)
    output += String(chunk)
  })
  child.stderr.on('data', (chunk: Buffer) => (output += String(chunk)))
  const [code] = (await once(child, 'close')) as [number]
  return { code, last: out.trimEnd().split('\n').at(-1)!, output }
}

t.test('whichever node drains or dies, nothing is lost but what a gap tells', async (t) => {
  const { code, last, output } = await verify()
  t.equal(last, 'lost 0 doubled 0 misordered 0 unsignalled-gaps 0 false-gaps 0 scenarios 2')
  if (!t.equal(code, 0)) t.comment(output)
})

t.test('the same fails when a node does not hand its sessions over', async (t) => {
  const { code, last, output } = await verify('--only', 'rolling-restart', '--sabotage', 'no-handover')
  t.match(
    last,
    /^lost 0 doubled 0 misordered 0 unsignalled-gaps 0 false-gaps [1-9]\d* scenarios 1$/,
    'live channels are told of lost sessions',
  )
  if (!t.equal(code, 1)) t.comment(output)
})
