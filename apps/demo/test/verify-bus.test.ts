import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'

// A short slice of `npm run verify:bus`, on real NATS and with real processes; and that it would notice.

t.setTimeout(280_000)

const script = fileURLToPath(new URL('../verify/bus.ts', import.meta.url))

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

t.test('whatever is killed, nothing is lost but what a gap tells', async (t) => {
  const { code, last, output } = await verify()
  t.equal(last, 'lost 0 doubled 0 misordered 0 unsignalled-gaps 0 false-gaps 0 scenarios 3')
  if (!t.equal(code, 0)) t.comment(output)
})

t.test('the same fails when the product loses something', async (t) => {
  const { code, last, output } = await verify('--only', 'streams-deleted', '--sabotage', 'drop')
  t.match(last, /^lost [1-9]\d* doubled \d+ misordered \d+ unsignalled-gaps \d+ false-gaps \d+ scenarios 1$/)
  if (!t.equal(code, 1)) t.comment(output)
})

t.test('what it does not know is told in one line', async (t) => {
  for (const args of [['--only', 'nothing'], ['--sabotage', 'luck'], ['--seed', 'x'], ['--loud']]) {
    const { code, output } = await verify(...args)
    t.equal(code, 2)
    t.match(output, new RegExp(`^[^\\n]*${args[0]}[^\\n]*\\n$`))
  }
})
