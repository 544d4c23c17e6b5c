import { EverwireError, type Clock, type ErrorCode } from '@everwire/core'
import { readLink, type Announcement } from '../announcement.js'
import { modeHeader, type Mode } from '../change.js'

export type HeaderSource = Readonly<Record<string, string>>
export type Headers = HeaderSource | (() => HeaderSource | Promise<HeaderSource>)

/** What is asked for. */
export interface Resource {
  /** Absolute. */
  url: string
  init?: Omit<RequestInit, 'signal'> | undefined
  parse?: ((response: Response) => unknown) | undefined
}

export interface RequestSettings {
  fetch: typeof globalThis.fetch | undefined
  headers: Headers | undefined
  mode: Mode | undefined
  timeoutMs: number
  clock: Clock
  /** Of the page, where there is one. */
  origin: string | undefined
}

/** A state of the resource and what names it. */
export interface State {
  data: unknown
  etag: string | undefined
  /** The body as it came, where nothing better says whether it changed. */
  text: string | undefined
}

export interface Response200 extends State {
  /** Where it came from, after redirections. */
  url: string
  /** It is what was known. */
  same: boolean
  announcement: Announcement | undefined
}

/** Longest wait that a server may ask for. */
const maxRetryAfterMs = 300_000

/**
 * Asks once, on condition that it is not what is known already. Rejects with an EverwireError: `unauthorized`,
 * `forbidden`, `rate-limited`, `temporary` or `internal` by its status, `link-lost`, `timeout`, or `bad-payload` when
 * the body cannot be read.
 */
export async function request(
  { url, init = {}, parse }: Resource,
  known: State | undefined,
  settings: RequestSettings,
  outer: AbortSignal,
): Promise<Response200> {
  const controller = new AbortController()
  const { signal } = controller
  const abort = () => controller.abort()
  outer.addEventListener('abort', abort)
  let isLate = false
  const cancel = settings.clock.after(settings.timeoutMs, () => {
    isLate = true
    abort()
  })
  try {
    // A fetch or a parser that does not hear the signal ends all the same.
    return await Promise.race([run(), aborted(signal)])
  } catch (error) {
    if (isLate) throw fault('timeout', url, `no answer within ${settings.timeoutMs} ms`)
    throw error instanceof EverwireError ? error : fault('link-lost', url, 'the request failed', error)
  } finally {
    cancel()
    outer.removeEventListener('abort', abort)
  }

  async function run(): Promise<Response200> {
    const headers = new globalThis.Headers(
      typeof settings.headers === 'function' ? await settings.headers() : settings.headers,
    )
    for (const [name, value] of new globalThis.Headers(init.headers)) headers.set(name, value)
    if (settings.mode) headers.set(modeHeader, settings.mode)
    // A header of our own would make a browser ask another origin for permission first: there its cache does it.
    const condition = settings.origin && new URL(url).origin !== settings.origin ? undefined : known?.etag
    if (condition) headers.set('if-none-match', condition)
    const fetch = settings.fetch ?? globalThis.fetch
    const response = await fetch(url, {
      ...(condition ? {} : { cache: 'no-cache' }),
      ...init,
      headers,
      signal,
    })
    const { status } = response
    const of = (name: string) => response.headers.get(name) ?? undefined
    const from = response.url || url
    // Where a redirection leads is not where the application wants its tokens to go.
    const isOwn = new URL(from).origin === new URL(url).origin
    const facts = { url: from, announcement: isOwn ? readLink(of('link')) : undefined }
    if (status === 304 && known) return { ...known, ...facts, same: true }
    if (!response.ok) {
      // Or the connection would be held until it is collected.
      response.body?.cancel().catch(() => {})
      throw new EverwireError(codeOf(status), `${url} answered ${status}`, {
        retryAfterMs: retryAfterMs(of('retry-after'), of('date')),
      })
    }
    const etag = of('etag')
    const same = etag !== undefined && etag === known?.etag
    try {
      if (parse) return { ...facts, data: await parse(response), etag, text: undefined, same }
      const text = await response.text()
      const isSame = same || (!etag && text === known?.text)
      return { ...facts, data: isSame ? known!.data : JSON.parse(text), etag, text, same: isSame }
    } catch (error) {
      if (signal.aborted) throw error
      throw fault('bad-payload', url, 'the answer cannot be read', error)
    }
  }
}

export const valueOf = async (headers: Headers | undefined): Promise<HeaderSource> =>
  (typeof headers === 'function' ? await headers() : headers) ?? {}

const aborted = (signal: AbortSignal) =>
  new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(new EverwireError('closed')))
  })

const fault = (code: ErrorCode, url: string, message: string, cause?: unknown) =>
  new EverwireError(code, `${url}: ${message}`, { cause })

const codeOf = (status: number): ErrorCode =>
  status === 401
    ? 'unauthorized'
    : status === 403
      ? 'forbidden'
      : status === 429
        ? 'rate-limited'
        : status === 502 || status === 503 || status === 504
          ? 'temporary'
          : 'internal'

/** RFC 9110 §10.2.3: seconds, or a date, which is compared with the server's own. */
function retryAfterMs(value: string | undefined, date: string | undefined): number | undefined {
  if (value === undefined) return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.parse(date ?? '')
  return ms > 0 ? Math.min(ms, maxRetryAfterMs) : undefined
}
