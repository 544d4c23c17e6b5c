import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'

// The program on the README's first screen is run as it stands there, but for the port.

const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
const file = (name: string) => new RegExp('```ts ' + name + '\\n([\\s\\S]*?)```').exec(readme)![1]!

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

t.test('the program on the first screen of the README runs', async (t) => {
  const port = await freePort()
  // Inside the package, so that the imports resolve as they do for a reader who installed them.
  const folder = mkdtempSync(join(import.meta.dirname, 'readme-'))
  const children: ChildProcess[] = []
  t.teardown(() => {
    for (const child of children) child.kill('SIGKILL')
    rmSync(folder, { recursive: true })
  })
  const run = (name: string, extra = '') => {
    const path = join(folder, name)
    writeFileSync(path, file(name).replaceAll('8080', String(port)) + extra)
    const child = spawn(process.execPath, ['--conditions=@everwire/source', '--import', 'tsx', path], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_OPTIONS: '' },
    })
    children.push(child)
    return createInterface(child.stdout)
  }
  const [ready] = (await once(run('server.ts', 'console.log("ready")\n'), 'line')) as [string]
  t.equal(ready, 'ready')
  const [line] = (await once(run('client.ts'), 'line')) as [string]
  t.match(line, /^\{ text: 'hello' \} \{ epoch: '\w+', offset: \d+ \}$/)
})
