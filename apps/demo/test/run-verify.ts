import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface Verification {
  code: number
  /** Last line of its output: the verdict. */
  last: string
  /** All that it wrote. */
  output: string
}

/** Runs the short slice of a `npm run verify:NAME`, as a user would. */
export async function runVerify(name: string, ...args: string[]): Promise<Verification> {
  const script = fileURLToPath(new URL(`../verify/${name}.ts`, import.meta.url))
  const options = ['--conditions=@everwire/source', '--import', 'tsx', script, '--brief', ...args]
  const child = spawn(process.execPath, options, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  })
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
