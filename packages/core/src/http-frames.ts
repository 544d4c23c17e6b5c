import { EverwireError } from './errors.js'
import { createEventStreamParser, encodeEvents, eventStreamType } from './event-stream.js'
import type { EncodedFrame, Frame } from './frame.js'
import type { ClientHandshake } from './transport.js'

/** The part of `fetch` that is used, so that any implementation may be handed in. */
export type Fetch = (
  url: string,
  init: {
    method: string
    headers: Record<string, string>
    body?: string | undefined
    signal?: AbortSignal | undefined
    cache: 'no-store'
    keepalive?: boolean | undefined
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
  /** @default 'POST' */
  method?: 'GET' | 'POST'
  signal?: AbortSignal
  keepalive?: boolean
}

/**
 * Sends frames in one HTTP request, in the body of a POST or in a header of a GET, and reads those of its answer as
 * they come. Resolves when the answer ends. Rejects with an EverwireError: `link-lost` when the way failed or something
 * that is not Everwire answered, or what a frame that cannot be read is.
 */
export async function exchangeFrames(
  { fetch, url, headers }: Pick<ClientHandshake, 'fetch' | 'url' | 'headers'>,
  path: string,
  frames: readonly EncodedFrame[],
  onFrame: (frame: Frame) => void,
  { method = 'POST', signal, keepalive }: ExchangeOptions = {},
): Promise<void> {
  const lost = (cause: unknown) => {
    throw new EverwireError('link-lost', 'the request failed', { cause })
  }
  const isPost = method === 'POST'
  const response = await fetch(`${url}/${path}`, {
    method,
    headers: {
      ...headers,
      accept: eventStreamType,
      ...(isPost ? { 'content-type': eventStreamType } : { [framesHeader]: asciiJson(frames) }),
    },
    cache: 'no-store',
    body: isPost ? encodeEvents(frames) : undefined,
    signal,
    keepalive,
  }).catch(lost)
  const of = (name: string) => response.headers.get(name)
  // Something else on the way answered; a rate limit's wish to be left alone is heard.
  if (!of('content-type')?.startsWith(eventStreamType))
    throw new EverwireError(
      response.status === 429 ? 'rate-limited' : 'link-lost',
      `HTTP ${response.status}`,
      {
        retryAfterMs: Number(of('retry-after')) * 1_000 || undefined,
      },
    )
  const parser = createEventStreamParser(onFrame)
  if (!response.body) return parser.push(await response.text())
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  for (;;) {
    const { done, value } = await reader.read().catch(lost)
    if (done) return
    parser.push(decoder.decode(value, { stream: true }))
  }
}

/** Header values are Latin-1 at best, so everything beyond ASCII is escaped. */
const asciiJson = (frames: readonly EncodedFrame[]) =>
  `[${frames.map(({ head }) => head).join(',')}]`.replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
