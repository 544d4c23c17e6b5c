import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { launchChromium, withoutChromium } from '@everwire/testkit/chromium'
import t from 'tap'
import { freePort, startBackend } from '../verify/dev-proxies/backend.js'
import { transportNames } from '../verify/dev-proxies/dev-server.js'
import { visit } from '../verify/dev-proxies/visit.js'
import { startVite } from '../verify/dev-proxies/vite.js'
import { outputFolder } from '../verify/support/output-folder.js'

// A page behind the proxy of Vite's dev server, whose module is edited.

const skip = withoutChromium

t.test(
  'hot replacement leaves no session behind, on any transport through the proxy',
  { skip },
  async (t) => {
    await mkdir(outputFolder, { recursive: true })
    const folder = await mkdtemp(`${outputFolder}vite-`)
    t.teardown(() => rm(folder, { recursive: true }))
    const backend = await startBackend()
    t.teardown(() => backend.close())
    const server = await startVite({ backendPort: backend.port, port: await freePort(), folder })
    t.teardown(() => server.close())
    const browser = await launchChromium()
    t.teardown(() => browser.close())

    for (const transport of transportNames) {
      const options = { goodbyePatienceMs: 1_000 }
      const { edits, goodbyeMs } = await visit({ browser, server, backend }, transport, options)
      t.strictSame(
        edits.map(({ kept, linked }) => ({ kept, linked })),
        Array.from({ length: 5 }, () => ({ kept: 1, linked: 1 })),
        transport,
      )
      t.not(goodbyeMs, undefined, 'a closed tab leaves none either')
    }
  },
)
