import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'

// A short slice of `npm run verify:migration`.

t.setTimeout(240_000)

async function verify(...args: string[]): Promise<{ code: number; output: string }> {
  const script = fileURLToPath(new URL('../verify/migration.ts', import.meta.url))
  const child = spawn(
    process.execPath,
    ['--conditions=@everwire/source', '--import', 'tsx', script, '--brief', ...args],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NODE_OPTIONS: '' } },
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (output += String(chunk)))
  const [code] = (await once(child, 'close')) as [number]
  return { code, output }
}

t.test(
  'each step keeps what it promises; up and down the ladder under load; live lost, and back',
  async (t) => {
    const { code, output } = await verify()
    t.match(output, /missed 0 backwards 0 leaked 0 failed 0\n$/)
    if (!t.equal(code, 0)) t.comment(output)
  },
)

t.test('what it does not know is refused', async (t) => {
  const { code, output } = await verify('--step', '7')
  t.equal(code, 2)
  t.match(output, /Unknown: 7/)
})
