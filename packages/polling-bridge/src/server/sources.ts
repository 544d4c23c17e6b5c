import { EverwireError, systemClock, type Clock } from '@everwire/core'
import type { FastifyInstance } from 'fastify'
import { modeHeader } from '../change.js'

/** What a source gets to work with. */
export interface SourceContext {
  channel: string
  /** Aborts when nobody waits for the data any more. */
  signal?: AbortSignal | undefined
}

/** Reads a resource: gives the data that its route would send as JSON. */
export type Source = (context: SourceContext) => unknown

export interface HttpSourceOptions {
  /** Sent with each request. */
  headers?: Record<string, string>
  /** @default the platform's */
  fetch?: typeof fetch
  /** @default 10000 */
  timeoutMs?: number
  /** URLs whose answers are remembered, so that they are asked for conditionally. @default 100 */
  maxRemembered?: number
  /** @default the system's */
  clock?: Clock
}

/**
 * Reads a resource of another system as JSON, conditionally where that gives an `ETag`. Rejects with an EverwireError
 * `temporary` when the answer is no success, and with what `fetch` rejects.
 * @param url of the resource, or what names it for a channel
 */
export function httpSource(
  url: string | ((channel: string) => string),
  {
    headers = {},
    fetch: fetcher = fetch,
    timeoutMs = 10_000,
    maxRemembered = 100,
    clock = systemClock,
  }: HttpSourceOptions = {},
): Source {
  if (typeof url === 'string' && !URL.canParse(url))
    throw new TypeError(`httpSource: url must be absolute, as in https://old.example/orders: ${url}`)
  const remembered = new Map<string, { etag: string; data: unknown }>()
  const read = async (target: string, signal: AbortSignal): Promise<unknown> => {
    const last = remembered.get(target)
    const response = await fetcher(target, {
      headers: { accept: 'application/json', ...headers, ...(last && { 'if-none-match': last.etag }) },
      signal,
    })
    if (response.status === 304 && last) {
      await response.body?.cancel()
      return last.data
    }
    if (!response.ok) {
      await response.body?.cancel()
      throw new EverwireError('temporary', `${target} answered ${response.status}`)
    }
    const data: unknown = await response.json()
    const etag = response.headers.get('etag')
    remembered.delete(target)
    if (etag) remembered.set(target, { etag, data })
    if (remembered.size > maxRemembered) remembered.delete(remembered.keys().next().value!)
    return data
  }
  return async ({ channel, signal }) => {
    const abort = new AbortController()
    const cancel = clock.after(timeoutMs, () =>
      abort.abort(new EverwireError('timeout', `no answer within ${timeoutMs} ms`)),
    )
    const forward = () => abort.abort(signal?.reason)
    signal?.addEventListener('abort', forward)
    try {
      return await read(typeof url === 'function' ? url(channel) : url, abort.signal)
    } finally {
      cancel()
      signal?.removeEventListener('abort', forward)
    }
  }
}

/** Reads the text that a route answers, as a client would. */
export function createRouteReader(
  app: FastifyInstance,
  headersFor: ((channel: string) => Record<string, string>) | undefined,
) {
  return async (url: string, { channel, signal }: SourceContext): Promise<string> => {
    const response = await app.inject({
      method: 'GET',
      url,
      headers: { [modeHeader]: 'polling', ...headersFor?.(channel) },
      ...(signal && { signal }),
    })
    if (response.statusCode !== 200)
      throw new EverwireError(
        'temporary',
        `GET ${url} inside the process answered ${response.statusCode}: does it need sourceHeaders?`,
      )
    return response.payload
  }
}

/** Most reads of one channel that may hang at a time. */
const maxHanging = 2

/** Reads within a time; what hangs is given up, and not asked for without end. */
export function createTimedReads(clock: Clock, timeoutMs: number) {
  const hanging = new Map<string, number>()
  const change = (channel: string, by: number) => {
    const count = (hanging.get(channel) ?? 0) + by
    if (count > 0) hanging.set(channel, count)
    else hanging.delete(channel)
  }
  return async <T>(channel: string, read: (signal: AbortSignal) => T | Promise<T>): Promise<T> => {
    if ((hanging.get(channel) ?? 0) >= maxHanging)
      throw new EverwireError('timeout', `${maxHanging} reads of ${channel} still hang`)
    const abort = new AbortController()
    let cancel = () => {}
    const late = new Promise<never>((_resolve, reject) => {
      cancel = clock.after(timeoutMs, () => {
        const error = new EverwireError('timeout', `reading ${channel} took longer than ${timeoutMs} ms`)
        reject(error)
        abort.abort(error)
      })
    })
    change(channel, 1)
    const reading = (async () => await read(abort.signal))()
    const over = () => change(channel, -1)
    reading.then(over, over)
    try {
      return await Promise.race([reading, late])
    } finally {
      cancel()
    }
  }
}
