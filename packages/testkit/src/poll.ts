import { systemClock } from '@everwire/core'

const intervalMs = 20

/** Asks until something comes; rejects, saying what was awaited, when nothing does within the time. */
export async function poll<T>(
  ask: () => Promise<T | undefined | false>,
  what: () => string,
  timeoutMs = 20_000,
): Promise<T> {
  const started = systemClock.now()
  for (;;) {
    const found = await ask()
    if (found !== undefined && found !== false) return found
    if (systemClock.now() - started > timeoutMs) throw new Error(`not within ${timeoutMs} ms: ${what()}`)
    await new Promise<void>((resolve) => void systemClock.after(intervalMs, resolve))
  }
}
