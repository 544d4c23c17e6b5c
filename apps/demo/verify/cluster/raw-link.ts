import {
  codeInfo,
  encodeEvents,
  encodeFrame,
  eventStreamType,
  frameCount,
  isSessionKind,
  parseEvents,
  protocolVersion,
  systemClock,
  type ClientTransport,
  type EncodedFrame,
  type Fetch,
  type Frame,
  type Link,
  type Position,
  type Welcome,
} from '@everwire/core'
import { until } from '../support/until.js'

/** One link of a session, by hand: it says what it is told, and never comes back by itself. */
export interface RawLink {
  readonly welcome: Welcome | undefined
  /** Why it is not attached, or not any more. */
  readonly ended: string | undefined
  /** Resolves once it is welcomed, or is refused or over. */
  settled(): Promise<void>
  /** Sends session frames, of which the first has this number, on the link or by a request where that is the way up. */
  send(first: number, frames: readonly EncodedFrame[]): Promise<void>
  /** Welcomed, and not told otherwise since. */
  readonly attached: boolean
  close(): void
}

export interface RawLinkOptions {
  url: string
  transport: ClientTransport
  /** Missing to open a session. */
  session?: string
  gen: number
  place: string
  cursor: number
  acked: number
  /** Hears the answers to operations, by their number; `code` when it is an error. */
  answered(number: number, answer: { position?: Position; code?: string }): void
}

const settleMs = 30_000

export function openRawLink({ url, transport, answered, ...fields }: RawLinkOptions): RawLink {
  const { fetch } = globalThis as unknown as { fetch: Fetch }
  let { cursor } = fields
  let welcome: Welcome | undefined
  let ended: string | undefined
  /** It makes requests: what goes up is one of its own. */
  let isOneWay = false

  const receive = (frame: Frame) => {
    const [kind, field] = frame.header
    if (kind === 'welcome') {
      welcome ??= field as Welcome
      cursor = (field as Welcome).from - 1
    } else if (kind === 'refuse' || kind === 'close' || kind === 'superseded') {
      ended ??= kind === 'superseded' ? kind : (field as string)
      link.close('link-lost')
    } else if (isSessionKind(kind as string)) {
      cursor += frameCount(frame.header)
      const [, , ...rest] = frame.header
      if (kind === 'err') answered(field as number, { code: rest[0] as string })
      if (kind === 'ack') {
        const [epoch, offset] = rest as [string?, number?]
        answered(
          field as number,
          epoch === undefined || offset === undefined ? {} : { position: { epoch, offset } },
        )
      }
    }
  }
  const link: Link = transport.attach(
    {
      url,
      fetch: (address, init) => {
        isOneWay = true
        return fetch(address, init)
      },
      clock: systemClock,
      headers: {},
      idleMs: Infinity,
      session: () => welcome?.session,
      applied() {},
      attach: ({ poll = 0, waitMs }: { poll?: number; waitMs?: number } = {}) =>
        encodeFrame([
          'attach',
          {
            v: protocolVersion,
            ...fields,
            poll,
            cursor,
            ...(welcome ? { session: welcome.session } : {}),
            ...(waitMs === undefined ? {} : { waitMs }),
          },
        ]),
    },
    { receive, drained() {}, closed: (code) => void (ended ??= code) },
  )

  return {
    get welcome() {
      return welcome
    },
    get ended() {
      return ended
    },
    settled: () =>
      until('an answer to an attach', () => welcome !== undefined || ended !== undefined, settleMs),
    async send(first, frames) {
      // The numbers are the caller's, and not those of the link's own way up.
      if (isOneWay) await post(url, welcome!.session, first, frames)
      else link.send(frames)
    },
    get attached() {
      return welcome !== undefined && ended === undefined
    },
    close: () => link.close('link-lost'),
  }
}

/** An uplink request, again while it is refused for a time only. */
async function post(
  url: string,
  session: string,
  first: number,
  frames: readonly EncodedFrame[],
): Promise<void> {
  const body = encodeEvents([encodeFrame(['uplink', { session, first }]), ...frames])
  for (let left = 20; left > 0; left--) {
    const response = await fetch(`${url}/uplink`, {
      method: 'POST',
      headers: { 'content-type': eventStreamType },
      body,
    })
    const [kind, code] = parseEvents(await response.text())[0]?.header ?? []
    if (kind === 'seen' || codeInfo(String(code)).recovery !== 'retry') return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
