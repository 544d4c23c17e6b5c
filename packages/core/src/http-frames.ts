import { EverwireError } from './errors.js'
import { createEventStreamParser, encodeEvents, eventStreamType } from './event-stream.js'
import type { EncodedFrame, Frame } from './frame.js'

/** The part of `fetch` that is used, so that any implementation may be handed in. */
export type Fetch = (
  url: string,
  init: {
    method: string
    headers: Record<string, string>
    body?: string
    signal?: AbortSignal
    cache: 'no-store'
    keepalive?: boolean
  },
) => Promise<FetchResponse>

export interface FetchResponse {
  readonly ok: boolean
  readonly status: number
  readonly headers: { get(name: string): string | null }
  /** Null where the runtime has no streams; `text` serves then. */
  readonly body: { getReader(): { read(): Promise<{ done: boolean; value?: Uint8Array }> } } | null
  text(): Promise<string>
}

/** Header in which a GET carries its frames, so that no credential ever stands in a URL. */
export const framesHeader = 'everwire-frames'

export interface ExchangeOptions {
  fetch: Fetch
  url: string
  method: 'GET' | 'POST'
  headers: Readonly<Record<string, string>>
  /** Frames to send: in the body of a POST, in a header of a GET. */
  frames: readonly EncodedFrame[]
  signal?: AbortSignal
  maxBytes?: number
  keepalive?: boolean
}

/**
 * Sends frames in one HTTP request and reads those of its answer as they come. Resolves when the answer ends.
 * Rejects with an EverwireError: `link-lost` when the way failed or something that is not Everwire answered, or what a
 * frame that cannot be read is.
 */
export async function exchangeFrames(
  { fetch, url, method, headers, frames, signal, maxBytes, keepalive }: ExchangeOptions,
  onFrame: (frame: Frame) => void,
): Promise<void> {
  const isPost = method === 'POST'
  let response: FetchResponse
  try {
    response = await fetch(url, {
      method,
      headers: {
        ...headers,
        accept: eventStreamType,
        ...(isPost ? { 'content-type': eventStreamType } : { [framesHeader]: asciiJson(frames) }),
      },
      cache: 'no-store',
      ...(isPost ? { body: encodeEvents(frames) } : {}),
      ...(signal ? { signal } : {}),
      ...(keepalive ? { keepalive } : {}),
    })
  } catch (cause) {
    throw new EverwireError('link-lost', 'the request failed', { cause })
  }
  if (!response.headers.get('content-type')?.startsWith(eventStreamType)) throw foreign(response)
  const parser = createEventStreamParser(onFrame, maxBytes === undefined ? {} : { maxBytes })
  if (!response.body) return parser.push(await response.text())
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  for (;;) {
    const { done, value } = await reader.read().catch((cause: unknown) => {
      throw new EverwireError('link-lost', 'the answer broke off', { cause })
    })
    if (done) return
    parser.push(decoder.decode(value, { stream: true }))
  }
}

/** Something else on the way answered; a rate limit's wish to be left alone is heard. */
function foreign({ status, headers }: FetchResponse): EverwireError {
  const seconds = Number(headers.get('retry-after') ?? Number.NaN)
  return new EverwireError(
    status === 429 ? 'rate-limited' : 'link-lost',
    `HTTP ${status}, and not from Everwire`,
    seconds > 0 ? { retryAfterMs: seconds * 1_000 } : {},
  )
}

/** Header values are Latin-1 at best, so everything beyond ASCII is escaped. */
const asciiJson = (frames: readonly EncodedFrame[]) =>
  `[${frames.map(({ head }) => head).join(',')}]`.replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
