import { protocolVersion, type Cancel, type Clock, type Fetch } from '@everwire/core'

export interface WhoOptions {
  url: string
  fetch: Fetch
  headers: Readonly<Record<string, string>>
  clock: Clock
  timeoutMs: number
}

/** Asks the server who this is; rejects when it does not say. Opens no session. */
export async function askWho(
  { url, fetch, headers, clock, timeoutMs }: WhoOptions,
  token: string | undefined,
): Promise<string | null> {
  const controller = new AbortController()
  const cancel: Cancel = clock.after(timeoutMs, () => controller.abort())
  try {
    const response = await fetch(`${url}/session`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify({ v: protocolVersion, token, open: false }),
      cache: 'no-store',
      signal: controller.signal,
    })
    const { userId } = JSON.parse(await response.text()) as { userId?: unknown }
    if (!response.ok || (userId !== null && typeof userId !== 'string'))
      throw new TypeError('the server does not say who this is')
    return userId
  } finally {
    cancel()
  }
}
