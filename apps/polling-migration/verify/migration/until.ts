import { setTimeout as sleep } from 'node:timers/promises'

const intervalMs = 50

/** Resolves with the milliseconds that it took until a condition held; rejects when that takes too long. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
): Promise<number> {
  const started = performance.now()
  while (!(await condition())) {
    if (performance.now() - started > timeoutMs) throw new Error(`${what}: not within ${timeoutMs} ms`)
    await sleep(intervalMs)
  }
  return performance.now() - started
}
