import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createServer, defaultClientConditions } from 'vite'
import { clientOf, type DevServer, type DevServerOptions } from './dev-server.js'

/** chokidar, with which Vite watches, drops a change within 50 ms of the last one that it told; nobody saves as fast. */
const deafMs = 60

const page = `<!doctype html><title>x</title><output></output><script type="module" src="/main.js"></script>`

const main = (version: number) => `import { createClient, longPolling, sse, webSocket } from 'everwire/client'
  const show = (text) => (document.querySelector('output').textContent = text)
  ${clientOf(version)}
  import.meta.hot.accept()
  import.meta.hot.dispose(() => client.close())\n`

/** Vite with `server.proxy`, as its users write it. */
export async function startVite({ backendPort, port, folder }: DevServerOptions): Promise<DevServer> {
  let version = 0
  const write = () => writeFileSync(path.join(folder, 'main.js'), main(version))
  writeFileSync(path.join(folder, 'index.html'), page)
  write()
  const server = await createServer({
    configFile: false,
    root: folder,
    cacheDir: path.join(folder, '.vite'),
    // It writes down each connection that a closed tab resets.
    logLevel: 'silent',
    clearScreen: false,
    resolve: {
      alias: { 'everwire/client': fileURLToPath(import.meta.resolve('everwire/client')) },
      conditions: ['@everwire/source', ...defaultClientConditions],
    },
    server: {
      host: '127.0.0.1',
      port,
      strictPort: true,
      proxy: { '/everwire': { target: `http://127.0.0.1:${backendPort}`, ws: true } },
    },
  })
  await server.listen()
  let changedAt = -Infinity
  server.watcher.on('change', () => (changedAt = performance.now()))
  return {
    url: server.resolvedUrls!.local[0]!,
    get version() {
      return version
    },
    async edit() {
      while (performance.now() - changedAt < deafMs) await sleep(deafMs - (performance.now() - changedAt))
      version++
      write()
    },
    close: () => server.close(),
  }
}
