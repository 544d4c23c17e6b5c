import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../steps', import.meta.url))

/** The steps by name, in order; `3-url` and `3-postgres` are other ways to take the third. */
export const stepNames: readonly string[] = readdirSync(folder).sort()

/**
 * Where a part of the application is at a step: a step holds only what it changes, the rest is as in the one before.
 * Undefined while there is no such part yet.
 */
export function partOf(
  step: string,
  part: 'server.ts' | 'page.ts' | 'plain.html' | 'trigger.sql',
): string | undefined {
  const main = Number.parseInt(step)
  const line = [step, ...Array.from({ length: main }, (_, i) => String(main - 1 - i))]
  return line.map((name) => path.join(folder, name, part)).find((file) => existsSync(file))
}

/** From this step on the page goes live. */
export const isLive = (step: string): boolean => Number.parseInt(step) >= 2
