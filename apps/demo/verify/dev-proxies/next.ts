import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { clientOf, type DevServer, type DevServerOptions } from './dev-server.js'

/** Large, and for this alone: installed into a folder of its own, and no dependency of the demo. */
const packages = ['next@16.4.6', 'react@19', 'react-dom@19']

const files = (backendPort: number): Record<string, string> => ({
  'package.json': JSON.stringify({ private: true, type: 'module' }),
  'next.config.js': `export default {
    devIndicators: false,
    rewrites: async () => [{ source: '/everwire/:path*', destination: 'http://127.0.0.1:${backendPort}/everwire/:path*' }],
  }\n`,
  'app/layout.jsx': 'export default ({ children }) => <html><body>{children}</body></html>\n',
})

/** In strict mode React runs the effect, its undo, and the effect again; an edit that changes what it depends on does too. */
const page = (version: number) => `'use client'
import { useEffect, useState } from 'react'
import { createClient, longPolling, sse, webSocket } from './everwire.js'

export default function Page() {
  const [text, show] = useState('')
  useEffect(() => {
    ${clientOf(version)}
    return () => client.close()
  }, [${version}])
  return <output title="version ${version}">{text}</output>
}\n`

/** `next dev` with `rewrites`, as its users write it. Rejects when it cannot be installed. */
export async function startNext({ backendPort, port, folder }: DevServerOptions): Promise<DevServer> {
  let version = 0
  const write = () => writeFileSync(path.join(folder, 'app/page.jsx'), page(version))
  mkdirSync(path.join(folder, 'app'))
  for (const [name, text] of Object.entries(files(backendPort))) writeFileSync(path.join(folder, name), text)
  write()
  await build({
    entryPoints: [fileURLToPath(import.meta.resolve('everwire/client'))],
    outfile: path.join(folder, 'app/everwire.js'),
    bundle: true,
    format: 'esm',
    target: 'es2022',
    conditions: ['@everwire/source'],
  })
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
  const install = ['install', '--no-audit', '--no-fund', '--loglevel=error', ...packages]
  await promisify(execFile)(npm, install, { cwd: folder })

  const child = spawn(process.execPath, ['node_modules/next/dist/bin/next', 'dev', '--port', String(port)], {
    cwd: folder,
    // A group of its own: it starts others, which must end with it.
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '', NEXT_TELEMETRY_DISABLED: '1', NO_COLOR: '1' },
  })
  const ended = once(child, 'exit')
  const close = async () => {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {}
    await ended
  }
  const lines = createInterface(child.stdout)
  const ready = new Promise<void>((resolve, reject) => {
    lines.on('line', (line) => line.includes('Ready in') && resolve())
    void ended.then(() => reject(new Error('next dev ended before it was ready')))
  })
  await ready
  const url = `http://localhost:${port}/`
  // It compiles a page when it is first asked for it, which may take long.
  await (await fetch(url)).text()
  return {
    url,
    get version() {
      return version
    },
    async edit() {
      version++
      write()
    },
    close,
  }
}
