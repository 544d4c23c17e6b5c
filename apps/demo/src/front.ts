import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '@everwire/core'
import { createVisitors, type Visitors } from './visitors.js'

// What the demo in one process and the one with several nodes share: all that visitors meet before Everwire.

export const loopback = '127.0.0.1'
export const builtPage = fileURLToPath(new URL('../dist/public', import.meta.url))

const mostVisitors = 1_000
const visitorIdleMs = 15 * 60_000

export const rememberVisitors = (): Visitors =>
  createVisitors({ clock: systemClock, most: mostVisitors, idleMs: visitorIdleMs })

/** @throws Error when nobody has built the page */
export function assertPage(publicDir: string): void {
  if (!existsSync(path.join(publicDir, 'index.html')))
    throw new Error('The page is not built yet: npm start builds it.')
}

/** The address to type: every machine calls itself localhost. */
export function pageUrl(host: string, port: number): string {
  if ([loopback, '0.0.0.0', '::', '::1', 'localhost'].includes(host)) return `http://localhost:${port}`
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}
