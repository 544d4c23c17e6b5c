import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { startPostgres } from '../src/postgres-server.js'
import { initdbPath } from '../src/postgres-server/programs.js'

const psql = path.join(path.dirname(initdbPath()), 'psql')

const ask = async (url: string, sql: string) =>
  (await promisify(execFile)(psql, ['-At', '-c', sql, url])).stdout.trim()

t.test('a server that is killed comes back on its port with what was committed', async (t) => {
  const postgres = await startPostgres()
  const { url, pid } = postgres
  await ask(url, 'CREATE TABLE kept (n int)')
  await t.rejects(postgres.start(), /runs already/)

  // A client that is connected when it dies: nothing of the server may be left that holds the data.
  const client = spawn(psql, ['-At', url], { stdio: 'pipe' })
  const ended = once(client, 'close')
  client.stdin.on('error', () => {})
  client.stdin.write('INSERT INTO kept VALUES (1) RETURNING n;\n')
  t.match(String((await once(client.stdout, 'data'))[0]), /^1\n/)
  await postgres.kill()
  t.notOk(postgres.running)
  await t.rejects(ask(url, 'SELECT 1'), /Connection refused/)
  await postgres.start()
  t.equal(await ask(url, 'SELECT n FROM kept'), '1')
  client.kill()
  await ended

  const again = postgres.pid
  t.not(again, pid)
  await postgres.restart()
  t.not(postgres.pid, again)
  t.equal(await ask(url, 'SELECT n FROM kept'), '1')
  const data = await ask(url, 'SHOW data_directory')
  t.ok(postgres.log().length > 0 && existsSync(path.dirname(data)))
  await postgres.stop()
  await postgres.stop()
  t.notOk(existsSync(path.dirname(data)), 'nothing is left')
})

t.test('it does not outlive the process that has started it', async (t) => {
  const source = new URL('../src/postgres-server.ts', import.meta.url)
  const code = `import { startPostgres } from ${JSON.stringify(source.href)}
    const { url, pid } = await startPostgres()
    console.log(JSON.stringify({ url, pid }))`
  const args = ['--conditions=@everwire/source', '--import', 'tsx', '--input-type=module', '-e', code]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const { url, pid } = JSON.parse(String((await once(child.stdout, 'data'))[0])) as {
    url: string
    pid: number
  }
  t.equal(await ask(url, 'SELECT 1'), '1')
  const data = await ask(url, 'SHOW data_directory')
  child.kill('SIGKILL')
  await t.resolves(gone(pid))
  // What it had started ends after it, and may write meanwhile.
  await rm(path.dirname(data), { recursive: true, maxRetries: 10 })
})

t.test('a program that is missing is told, with what to do, and nothing is left', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'everwire-'))
  const before = { ...process.env }
  t.teardown(async () => {
    process.env = before
    await rm(folder, { recursive: true })
  })
  process.env.TMPDIR = folder
  process.env.POSTGRES_PATH = path.join(path.dirname(folder), 'no-such-postgres')
  await t.rejects(
    startPostgres(),
    /there is no .*initdb: install PostgreSQL, or say where its server is by POSTGRES_PATH/,
  )
  t.strictSame(readdirSync(folder), [])
})

/** Resolves once there is no process of that number. */
async function gone(pid: number): Promise<void> {
  for (const end = performance.now() + 15_000; performance.now() < end;) {
    try {
      process.kill(pid, 0)
    } catch {
      return
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error('it lives on')
}
