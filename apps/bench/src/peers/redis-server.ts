import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'

export interface RedisServer {
  readonly url: string
  readonly version: string
  stop(): Promise<void>
}

const mostAttempts = 5

/** A real redis-server on loopback that keeps nothing. The program is REDIS_SERVER_PATH, else that of the PATH. */
export async function startRedis(): Promise<RedisServer> {
  for (let attempt = 1; ; attempt++)
    try {
      return await tryToStart(await freePort())
    } catch (error) {
      // Another process may have taken the port in between.
      if (attempt === mostAttempts) throw error
    }
}

async function tryToStart(port: number): Promise<RedisServer> {
  const command = process.env.REDIS_SERVER_PATH || 'redis-server'
  const options = ['--bind', '127.0.0.1', '--port', `${port}`, '--save', '', '--appendonly', 'no']
  const child = spawn(command, options, { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child, 'spawn')
  // Lives as long as the pipe that this process holds, however that ends.
  const guard = spawn('sh', ['-c', 'cat >/dev/null; kill -KILL "$0"', `${child.pid}`], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guard.unref()
  const ended = once(child, 'close').then(() => guard.kill('SIGKILL'))
  const lines: string[] = []
  for await (const line of createInterface(child.stdout)) {
    lines.push(line)
    if (line.includes('Ready to accept connections')) break
  }
  const log = lines.join('\n')
  if (!log.includes('Ready to accept connections')) throw new Error(`${command} ended:\n${log}`)
  child.stdout.resume()
  return {
    url: `redis://127.0.0.1:${port}`,
    version: /Redis version=([\d.]+)/.exec(log)?.[1] ?? 'of an unknown version',
    async stop() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
