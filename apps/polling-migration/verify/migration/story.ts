import { mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Browser, Page } from 'playwright-core'
import { isLive } from '../../src/steps.js'

/** What two people at their browsers saw, in milliseconds after it happened. */
export interface Story {
  /** The worst of: an order that the other one adds, one that moves on, a letter. */
  worstMs: number
  /** The page in plain script. */
  plainMs: number
  faults: string[]
}

/** Where verifications leave what they made; not in git. */
const outputFolder = fileURLToPath(new URL('../../../../.verify/', import.meta.url))

/** Notes when each line of a list is there first. Text, because a compiled function needs what its module has. */
const recordLines = `
  window.seen = {}
  const note = () => {
    for (const line of document.querySelectorAll('li')) {
      const text = [...line.childNodes].map((node) => node.textContent).join('|')
      seen[text] ??= Date.now()
    }
  }
  document.addEventListener('DOMContentLoaded', () => {
    note()
    new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true })
  })`

/** When a line with this text was there first. */
async function seenAt(page: Page, text: string, timeoutMs: number): Promise<number> {
  const find = `Object.entries(seen).find(([line]) => line.includes(${JSON.stringify(text)}))?.[1]`
  const handle = await page.waitForFunction(find, undefined, { timeout: timeoutMs, polling: 50 })
  return (await handle.jsonValue()) as number
}

/** What the pages say in their files. */
export const pageIntervalMs = 5_000

/** ann and bob work with the same orders, and write to each other; a third page is in plain script. */
export async function tellStory(
  browser: Browser,
  url: string,
  step: string,
  name = `migration-${step}`,
): Promise<Story> {
  const faults: string[] = []
  const patienceMs = 2 * pageIntervalMs + 10_000
  const open = async (user: string, path = '/') => {
    const context = await browser.newContext({ viewport: { width: 1100, height: 800 } })
    const page = await context.newPage()
    page.on('pageerror', (error) => faults.push(`${user}: ${error.message}`))
    await page.addInitScript({ content: recordLines })
    await page.goto(`${url}/login?user=${user}`)
    if (path !== '/') await page.goto(url + path)
    await page.locator('#orders li').first().waitFor({ timeout: patienceMs })
    return page
  }
  const [ann, bob, plain] = await Promise.all([open('ann'), open('bob'), open('cy', '/plain')])
  try {
    if (isLive(step))
      for (const page of [ann, bob])
        await page.locator('#state[data-state="live"]').waitFor({ timeout: patienceMs })
    const delays: number[] = []

    await ann.fill('#item', 'Story chair')
    await ann.click('#add-order button')
    // It has happened, at the latest, when the one who did it sees it.
    const added = await seenAt(ann, 'Story chair|new', patienceMs)
    delays.push((await seenAt(bob, 'Story chair|new', patienceMs)) - added)
    const plainMs = (await seenAt(plain, 'Story chair: new', patienceMs)) - added

    await bob.locator('#orders li', { hasText: 'Story chair' }).locator('button').click()
    const packed = await seenAt(bob, 'Story chair|packed', patienceMs)
    delays.push((await seenAt(ann, 'Story chair|packed', patienceMs)) - packed)

    await ann.fill('#to', 'bob')
    await ann.fill('#text', 'Lunch at noon?')
    const posted = ann.waitForResponse((response) => response.request().method() === 'POST')
    await ann.click('#send-letter button')
    await posted
    const sent = Date.now()
    delays.push((await seenAt(bob, 'Lunch at noon?|ann', patienceMs)) - sent)
    if ((await ann.locator('#inbox').textContent())!.includes('Lunch'))
      faults.push('ann got the letter to bob')

    if (await ann.locator('#desk').isVisible()) {
      await ann.fill('#note', 'Back at two')
      await ann.click('#add-note button')
      await seenAt(bob, 'Back at two|ann', patienceMs)
    } else if (step === '4') faults.push('no desk in step 4')
    await mkdir(outputFolder, { recursive: true })
    await bob.screenshot({ path: `${outputFolder}${name}.png`, fullPage: true })
    return { worstMs: Math.max(...delays), plainMs, faults }
  } finally {
    await Promise.all([ann, bob, plain].map((page) => page.context().close()))
  }
}
