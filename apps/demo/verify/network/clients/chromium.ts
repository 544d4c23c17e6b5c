import type { Browser } from 'playwright-core'
import { prefix } from '../server.js'
import type { createRecorder, Recorder } from '../recorder.js'
import type { Visitor, Way } from './client.js'

declare global {
  interface Window {
    lab: { createRecorder: typeof createRecorder }
    recorder: Recorder
  }
}

const loadMs = 60_000

/** A page in a browser of its own kind of storage, which keeps what its client remembers from visit to visit. */
export async function createChromiumVisitor(browser: Browser, { url, proxy }: Way): Promise<Visitor> {
  const context = await browser.newContext(
    // Without this it would go to 127.0.0.1 directly.
    proxy === undefined ? {} : { proxy: { server: proxy, bypass: '<-loopback>' } },
  )
  context.setDefaultTimeout(loadMs)
  return {
    kind: 'chromium',
    async forget() {
      const page = await context.newPage()
      await page.goto(`${url}/lab`)
      await page.evaluate(() => localStorage.clear())
      await page.close()
    },
    async visit(options) {
      const page = await context.newPage()
      const faults: string[] = []
      page.on('pageerror', (error) => faults.push(String(error)))
      await page.goto(`${url}/lab`)
      await page.evaluate((all) => void (window.recorder = window.lab.createRecorder(all)), {
        ...options,
        url: url + prefix,
      })
      return {
        connect: () => page.evaluate(() => window.recorder.connect()),
        publish: (on) => page.evaluate((on) => window.recorder.publish(on), on),
        look: () => page.evaluate(() => window.recorder.look()),
        explain: () => page.evaluate(() => window.recorder.explain()),
        async take() {
          if (faults.length > 0) throw new Error(`the page failed: ${faults.join('; ')}`)
          return await page.evaluate(() => window.recorder.take())
        },
        offline: (on) => context.setOffline(on),
        async close() {
          await page.evaluate(() => window.recorder.close())
          await page.close()
        },
      }
    },
    close: () => context.close(),
  }
}
