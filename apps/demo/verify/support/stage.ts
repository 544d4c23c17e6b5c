import { rm } from 'node:fs/promises'
import type { Browser } from 'playwright-core'
import { createDemo, type Demo } from '../../src/app.js'
import { buildPage } from '../../src/build-page.js'
import { launchChromium } from '@everwire/testkit/chromium'
import { outputFolder } from './output-folder.js'

export interface Stage {
  /** Address of the demo. */
  url: string
  browser: Browser
  demo: Demo
  close(): Promise<void>
}

/** The demo on a free port, from source, and a real browser to look at it. */
export async function setStage(): Promise<Stage> {
  // Of its own, because several may run side by side.
  const publicDir = `${outputFolder}public-${process.pid}`
  await buildPage(publicDir, { conditions: ['@everwire/source'] })
  const demo = createDemo({ publicDir })
  const [{ port }, browser] = await Promise.all([demo.start(), launchChromium()])
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
