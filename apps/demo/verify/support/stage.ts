import { rm } from 'node:fs/promises'
import { chromium, type Browser } from 'playwright-core'
import { createDemo, type Demo } from '../../src/app.js'
import { buildPage } from '../../src/build-page.js'
import { outputFolder } from './output-folder.js'

const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export interface Stage {
  /** Address of the demo. */
  url: string
  browser: Browser
  demo: Demo
  close(): Promise<void>
}

/** The demo on a free port, from source, and a real browser to look at it. */
export async function setStage(): Promise<Stage> {
  const executablePath = process.env.CHROMIUM_PATH
  if (!executablePath)
    throw new Error('CHROMIUM_PATH is not set: start this by node scripts/verify.mjs, which finds it')
  // Of its own, because several may run side by side.
  const publicDir = `${outputFolder}public-${process.pid}`
  await buildPage(publicDir, { conditions: ['@everwire/source'] })
  const demo = createDemo({ publicDir })
  const [{ port }, browser] = await Promise.all([
    demo.start(),
    chromium.launch({ executablePath, args: flags }),
  ])
  return {
    url: `http://127.0.0.1:${port}/`,
    browser,
    demo,
    async close() {
      await browser.close()
      await demo.close()
      await rm(publicDir, { recursive: true, force: true })
    },
  }
}
