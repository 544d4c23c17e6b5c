import type { Browser } from 'playwright-core'
import { startApp } from './app-process.js'
import { pageIntervalMs, tellStory } from './story.js'
import { createWriter } from './writer.js'

const slackMs = 1_000

/** The page of step 0, as it is, on the server of another step: what is wrong with it. */
export async function visitWithOldPage(browser: Browser, step: string): Promise<string[]> {
  const app = await startApp({ step, page: '0' })
  try {
    await createWriter({ url: () => app.url, users: ['u1'] }).write()
    const { worstMs, plainMs, faults } = await tellStory(browser, app.url, '0', `migration-${step}-page-0`)
    const worst = Math.max(worstMs, plainMs)
    const isLate = worst > pageIntervalMs + slackMs
    return [...faults, ...(isLate ? [`a change is there after ${worst} ms`] : [])]
  } finally {
    await app.stop()
  }
}
