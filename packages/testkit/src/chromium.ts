import type { Browser, LaunchOptions } from 'playwright-core'

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

/** Why a test that needs the real browser cannot run, or false. */
export const withoutChromium = process.env.CHROMIUM_PATH ? false : 'CHROMIUM_PATH is not set'

/** Launches the real browser that CHROMIUM_PATH names, without a window. Needs `playwright-core`. */
export async function launchChromium({ args = [], ...options }: LaunchOptions = {}): Promise<Browser> {
  const executablePath = process.env.CHROMIUM_PATH
  if (!executablePath) throw new Error('CHROMIUM_PATH is not set: the scripts of the repository find it')
  const { chromium } = await import('playwright-core')
  return await chromium.launch({ ...options, executablePath, args: [...flags, ...args] })
}
