// node scripts/verify.mjs screenshots: the page at two widths and in two schemes, on WebSocket and on long polling,
// and the lab before, in and after a run; with checks of its layout, its accessibility, and its use by keyboard alone. Pictures go to .verify/screenshots.
import { mkdir, rm } from 'node:fs/promises'
import axe from 'axe-core'
import type { Page } from 'playwright-core'
import type {} from '../src/page/demo-api.js'
import { outputFolder } from './support/output-folder.js'
import { setStage } from './support/stage.js'

const widths = [360, 1440]
const schemes = ['light', 'dark'] as const
const heights: Readonly<Record<number, number>> = { 360: 800, 1440: 900 }
const folder = `${outputFolder}screenshots`

let failures = 0
function check(name: string, ok: boolean, detail = ''): void {
  if (!ok) failures++
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name}${ok || detail === '' ? '' : `: ${detail}`}`)
}

const onTransport = (page: Page, transport: string) =>
  page.waitForFunction((wanted) => window.everwireDemo?.transport === wanted, transport)

/** Enough has come to fill the ledger and the ticker. */
const settled = (page: Page, received: number) =>
  page.waitForFunction((least) => window.everwireDemo.ledger().received >= least, received)

async function inspect(page: Page, name: string): Promise<void> {
  const { scroll, client } = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.scrollingElement!
    return { scroll: scrollWidth, client: clientWidth }
  })
  check(`${name}: no sideways scroll`, scroll <= client, `${scroll} px in ${client} px`)
  const small = await page.evaluate(() =>
    [...document.querySelectorAll('button, input')]
      .filter((element) => element.getBoundingClientRect().height < 44)
      .map(({ id }) => id),
  )
  check(`${name}: targets are 44 px high`, small.length === 0, small.join(', '))
  await page.evaluate(axe.source)
  const violations = await page.evaluate(async () => {
    const { axe: tool } = globalThis as unknown as { axe: typeof axe }
    const { violations: found } = await tool.run()
    return found.map(({ id, impact, nodes }) => ({
      id,
      impact,
      where: nodes.map(({ html }) => html).join(' '),
    }))
  })
  const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
  check(`${name}: axe finds nothing serious`, grave.length === 0, JSON.stringify(grave))
  for (const { id, impact, where } of violations) console.log(`       axe ${impact}: ${id} ${where}`)
}

await rm(folder, { recursive: true, force: true })
await mkdir(folder, { recursive: true })
const stage = await setStage()
try {
  for (const width of widths)
    for (const colorScheme of schemes) {
      const context = await stage.browser.newContext({
        viewport: { width, height: heights[width]! },
        colorScheme,
        reducedMotion: 'no-preference',
      })
      const page = await context.newPage()
      const problems: string[] = []
      page.on('pageerror', (error) => problems.push(String(error)))
      page.on('console', (message) => {
        // The browser itself writes down what the path refused.
        const own = !/Failed to load resource|WebSocket connection/.test(message.text())
        if (message.type() === 'error' && own) problems.push(message.text())
      })
      const shoot = (name: string) =>
        page.screenshot({ path: `${folder}/${name}-${width}-${colorScheme}.png`, fullPage: true })
      await page.goto(stage.url)
      await onTransport(page, 'websocket')
      await page.locator('#stream').click()
      await settled(page, 200)
      await inspect(page, `websocket ${width} ${colorScheme}`)
      await shoot('websocket')
      await page.screenshot({ path: `${folder}/first-screen-${width}-${colorScheme}.png` })

      await page.locator('#block-websocket').click()
      await onTransport(page, 'sse')
      await page.locator('#block-sse').click()
      await onTransport(page, 'long-polling')
      await page.waitForFunction(() => window.everwireDemo.moves().length >= 3)
      await settled(page, 600)
      await inspect(page, `long-polling ${width} ${colorScheme}`)
      await shoot('long-polling')

      await page.locator('#cut-cable').click()
      await page.waitForFunction(() => window.everwireDemo.state === 'reconnecting')
      await inspect(page, `cut ${width} ${colorScheme}`)
      await shoot('cut')

      await page.locator('#restore').click()
      await onTransport(page, 'websocket')
      await page.evaluate(() => window.everwireDemo.stream.stop())
      const { lost, doubled, misordered } = await page.evaluate(() =>
        window.everwireDemo.ledger({ settled: true }),
      )
      const name = `restored ${width} ${colorScheme}`
      check(`${name}: nothing lost, doubled, out of order`, lost + doubled + misordered === 0)
      check(`${name}: no error in the page`, problems.length === 0, problems.join('; '))
      await lookAtLab(page, `${width} ${colorScheme}`, shoot)
      check(`lab ${width} ${colorScheme}: no error in the page`, problems.length === 0, problems.join('; '))
      await context.close()
    }

  await byKeyboard()
} finally {
  await stage.close()
}

/** The lab as it comes, in the middle of a network, and with what it found. */
async function lookAtLab(page: Page, name: string, shoot: (name: string) => Promise<unknown>): Promise<void> {
  await page.goto(`${stage.url}lab`)
  await page.locator('#run-slow').waitFor()
  await inspect(page, `lab ${name}`)
  await shoot('lab')
  await page.locator('#run-kills-websocket').click()
  await page.locator('#kills-websocket .carrying').first().waitFor()
  await inspect(page, `lab, mid-run ${name}`)
  await shoot('lab-running')
  const end = page.locator('#kills-websocket:is([data-state="good"], [data-state="bad"])')
  await end.waitFor()
  check(`lab ${name}: as expected`, (await end.getAttribute('data-state')) === 'good')
  await inspect(page, `lab, at the end ${name}`)
  await shoot('lab-done')
}

async function byKeyboard(): Promise<void> {
  const page = await stage.browser.newPage()
  await page.goto(stage.url)
  await onTransport(page, 'websocket')
  const tabTo = async (id: string) => {
    for (let i = 0; i < 40; i++) {
      if (await page.evaluate((wanted) => document.activeElement?.id === wanted, id)) return true
      await page.keyboard.press('Tab')
    }
    return false
  }
  check('keyboard: tab reaches the button that blocks WebSocket', await tabTo('block-websocket'))
  await page.keyboard.press('Space')
  await onTransport(page, 'sse')
  check('keyboard: the transport changes', true)
  const pressed = await page.getAttribute('#block-websocket', 'aria-pressed')
  check('keyboard: the button says that it is pressed', pressed === 'true')
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement!).outlineStyle)
  check('keyboard: the focus is visible', ring !== 'none', ring)
  check('keyboard: tab reaches the name', await tabTo('chat-name'))
  await page.keyboard.press('Control+A')
  await page.keyboard.type('Ada')
  check('keyboard: tab reaches the message', await tabTo('chat-text'))
  const text = '<b>Hello</b> from the keyboard'
  await page.keyboard.type(text)
  await page.keyboard.press('Enter')
  const line = page.locator('.message[data-pending="false"]', { hasText: text })
  await line.waitFor()
  check('keyboard: the message arrives as it was typed', (await line.locator('bdi').textContent()) === 'Ada')
  await page.close()
}

console.log(`${failures === 0 ? 'all is well' : `${failures} FAILED`}; pictures are in .verify/screenshots`)
process.exitCode = failures === 0 ? 0 : 1
