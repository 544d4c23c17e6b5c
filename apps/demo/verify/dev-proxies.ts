// node scripts/verify.mjs dev-proxies: a page behind Vite's proxy and behind the rewrites of `next dev`, on each
// transport: works, and leaves no session behind when its module is edited or its tab is closed. Next is installed into
// a temporary folder, about 350 MB; where that fails its rows say NOT RUN.
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { launchChromium } from '@everwire/testkit/chromium'
import { freePort, startBackend } from './dev-proxies/backend.js'
import { transportNames, type DevServer, type DevServerOptions } from './dev-proxies/dev-server.js'
import { startNext } from './dev-proxies/next.js'
import { visit, type Visit } from './dev-proxies/visit.js'
import { startVite } from './dev-proxies/vite.js'
import { outputFolder } from './support/output-folder.js'

interface Subject {
  name: string
  start(options: DevServerOptions): Promise<DevServer>
  /** Where its folder is made. */
  parent: string
  /** It names the backend as the host of what it sends on, so that the page is of another origin. */
  changesHost: boolean
}

const subjects: Subject[] = [
  // Inside the repository, or Vite would not serve the sources.
  { name: 'vite', start: startVite, parent: outputFolder, changesHost: false },
  // Outside: Next takes a folder with a lockfile above it for its root.
  { name: 'next', start: startNext, parent: tmpdir(), changesHost: true },
]

const row = (...cells: string[]) =>
  console.log(`| ${cells.map((cell, i) => cell.padEnd([6, 12, 22, 16, 24][i]!)).join(' | ')} |`)
const ms = (value: number) => `${Math.round(value)} ms`

let failures = 0
const report = (name: string, { transport, edits, deliveryMs, goodbyeMs }: Visit) => {
  const wrong = edits.filter(({ kept, linked }) => kept !== 1 || linked !== 1)
  if (wrong.length > 0 || goodbyeMs === undefined) failures++
  const slowest = Math.max(...edits.map(({ settledMs }) => settledMs))
  row(
    name,
    transport,
    wrong.length > 0 ? `FAILED: ${wrong.map(({ kept }) => kept).join(' ')}` : `1 each, in ${ms(slowest)}`,
    ms(deliveryMs),
    goodbyeMs === undefined ? 'FAILED: kept' : `0, in ${ms(goodbyeMs)}`,
  )
}

await mkdir(outputFolder, { recursive: true })
const browser = await launchChromium()
try {
  row('server', 'transport', 'sessions after an edit', 'slowest delivery', 'after the tab is closed')
  row('---', '---', '---', '---', '---')
  for (const { name, start, parent, changesHost } of subjects) {
    const port = await freePort()
    const backend = await startBackend(changesHost ? [`http://localhost:${port}`] : [])
    const folder = await mkdtemp(path.join(parent, `everwire-${name}-`))
    let server: DevServer | undefined
    try {
      server = await start({ backendPort: backend.port, port, folder })
      for (const transport of transportNames)
        report(name, await visit({ browser, server, backend }, transport))
    } catch (error) {
      failures++
      row(name, server ? 'FAILED' : 'NOT RUN', String(error).split('\n', 1)[0]!, '', '')
    } finally {
      await server?.close()
      await backend.close()
      await rm(folder, { recursive: true, force: true })
    }
  }
} finally {
  await browser.close()
}
process.exitCode = failures === 0 ? 0 : 1
