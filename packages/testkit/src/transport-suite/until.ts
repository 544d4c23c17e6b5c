import { systemClock } from '@everwire/core'

/** Resolves when `condition` holds; rejects, saying what was awaited, when it does not within the time. */
export async function until(
  condition: () => unknown,
  what: string | (() => string),
  { timeoutMs = 15_000 }: { timeoutMs?: number } = {},
): Promise<void> {
  const started = systemClock.now()
  while (!condition()) {
    if (systemClock.now() - started > timeoutMs)
      throw new Error(`not within ${timeoutMs} ms: ${typeof what === 'string' ? what : what()}`)
    await pause(2)
  }
}

/** Lets real time pass, for what needs it: sockets that carry something meanwhile. */
export const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => void systemClock.after(ms, resolve))

/** A promise and the ends of it, to hold a hook back until the test lets it go. */
export function createGate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}
