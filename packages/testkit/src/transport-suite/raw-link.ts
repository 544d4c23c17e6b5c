import {
  encodeFrame,
  encodeEvents,
  eventStreamType,
  isSessionKind,
  frameCount,
  parseEvents,
  protocolVersion,
  systemClock,
  type AttachRequest,
  type ClientTransport,
  type EncodedFrame,
  type ErrorCode,
  type Fetch,
  type FetchResponse,
  type Frame,
  type Link,
  type Welcome,
} from '@everwire/core'
import { until } from './until.js'

/** A link of which the test speaks every word. */
export interface RawLink {
  readonly link: Link
  /** The link's first. */
  readonly welcome: Welcome | undefined
  readonly refused: string | undefined
  readonly closed: { code: ErrorCode; reason: string } | undefined
  /** Session frames, each with its number. */
  readonly frames: { number: number; frame: Frame }[]
  /** Everything else after the welcome. */
  readonly others: Frame[]
  welcomed(): Promise<Welcome>
  /** Waits until so many session frames came. */
  received(count: number): Promise<void>
  ended(): Promise<{ code: ErrorCode; reason: string }>
  /** Sends on the link, or in a request where that is the way up. */
  send(header: Frame['header'], data?: string | Uint8Array): Promise<void>
}

export interface RawLinkOptions {
  url: string
  attach: Partial<AttachRequest> & Record<string, unknown>
  /** Closes the link, without a word, as soon as it is welcomed and so many session frames came. */
  stopAfter?: number
}

/** Opens a link with the attach that is given, whatever it says. */
export function openRawLink(transport: ClientTransport, { url, attach, stopAfter }: RawLinkOptions): RawLink {
  const frames: RawLink['frames'] = []
  const others: Frame[] = []
  let welcome: Welcome | undefined
  let refused: string | undefined
  let closed: RawLink['closed']
  let next = 0
  /** Answers to the requests that bring frames up; a link that makes none is not one-way. */
  const uplinks: Promise<string | undefined>[] = []
  let isOneWay = false
  const fetchAndListen: Fetch = async (address, init) => {
    isOneWay = true
    const answer = fetch(address, init as RequestInit)
    if (address.endsWith('/uplink'))
      uplinks.push(answer.then(async (response) => codeOfAnswer(await response.clone().text())))
    return (await answer) as unknown as FetchResponse
  }
  const handshake = {
    url,
    fetch: fetchAndListen,
    idleMs: Infinity,
    session: () => welcome?.session,
    applied() {},
    clock: systemClock,
    headers: {},
    attach: ({ poll = 0, waitMs }: { poll?: number; waitMs?: number } = {}) =>
      encodeFrame([
        'attach',
        {
          v: protocolVersion,
          gen: 1,
          place: 'here',
          acked: 0,
          poll,
          ...(waitMs === undefined ? {} : { waitMs }),
          ...attach,
          ...(welcome ? { session: welcome.session } : {}),
          cursor: welcome ? next - 1 : (attach.cursor ?? 0),
        },
      ]),
  }
  const link = transport.attach(handshake, {
    receive(frame) {
      const [kind, field] = frame.header
      if (kind === 'welcome') {
        // Those of later polls say where their frames begin, and that only.
        welcome ??= field as Welcome
        next = (field as Welcome).from
        if (stopAfter === 0) link.close('link-lost')
      } else if (kind === 'refuse') refused = field as string
      else if (isSessionKind(kind)) {
        frames.push({ number: next, frame })
        next += frameCount(frame.header)
        if (frames.length === stopAfter) link.close('link-lost')
      } else {
        others.push(frame)
        // As a client does: a long poll would ask again.
        if (kind === 'close') link.close(field as ErrorCode)
      }
    },
    drained() {},
    closed(code, reason = '') {
      closed = { code, reason }
    },
  })
  const state = () => JSON.stringify({ welcome: !!welcome, refused, closed, frames: frames.length })
  return {
    link,
    get welcome() {
      return welcome
    },
    get refused() {
      return refused
    },
    get closed() {
      return closed
    },
    frames,
    others,
    async welcomed() {
      await until(
        () => welcome ?? (refused || closed),
        () => `a welcome: ${state()}`,
      )
      if (!welcome) throw new Error(`refused: ${state()}`)
      return welcome
    },
    received: (count) =>
      until(
        () => frames.length >= count,
        () => `${count} frames: ${state()}`,
      ),
    async ended() {
      await until(
        () => closed,
        () => `the end of a link: ${state()}`,
      )
      return closed!
    },
    async send(header, data) {
      const frame = encodeFrame(header, data, { binary: data instanceof Uint8Array })
      const before = uplinks.length
      link.send([frame])
      if (!isOneWay) return
      await until(() => uplinks.length > before, 'the request that brings a frame up')
      const code = await uplinks.at(-1)
      if (code) throw new Error(`the uplink was refused: ${code}`)
    },
  }
}

/** One uplink request. */
export async function postUplink(
  url: string,
  session: string,
  first: number,
  frames: readonly EncodedFrame[],
): Promise<{ status: number; applied?: number; code?: string }> {
  return await postBody(
    `${url}/uplink`,
    encodeEvents([encodeFrame(['uplink', { session, first }]), ...frames]),
  )
}

function codeOfAnswer(text: string): string | undefined {
  const [kind, field] = parseEvents(text)[0]?.header ?? ['']
  return kind === 'refuse' ? (field as string) : undefined
}

/** One request of the event-stream kind, and what its answer says. */
export async function postBody(
  url: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = { 'content-type': eventStreamType },
): Promise<{ status: number; applied?: number; code?: string }> {
  const response = await fetch(url, { method: 'POST', headers, body })
  const text = await response.text()
  const type = response.headers.get('content-type') ?? ''
  if (!type.startsWith(eventStreamType))
    return { status: response.status, code: `not from Everwire: ${text}` }
  const [kind, field] = parseEvents(text)[0]?.header ?? ['']
  const code = codeOfAnswer(text)
  return {
    status: response.status,
    ...(kind === 'seen' ? { applied: field as number } : {}),
    ...(code === undefined ? {} : { code }),
  }
}
