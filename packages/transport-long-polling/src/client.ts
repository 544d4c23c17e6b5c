import {
  codeOf,
  encodeFrame,
  EverwireError,
  exchangeFrames,
  protocolVersion,
  randomBase32,
  refusal,
  type ClientHandshake,
  type ClientTransport,
  type EncodedFrame,
  type ErrorCode,
  type Frame,
  type Link,
  type LinkHandler,
} from '@everwire/core'

export interface LongPollingClientOptions {
  /** How long the server may hold a poll; it may shorten this. @default 25000 */
  pollWaitMs?: number
}

const name = 'long-polling'
/** Empty answers in a row that may come long before their time. */
const maxHurried = 3

/** The long polling transport: what is left when everything on the path holds streams back. */
export function longPolling({ pollWaitMs = 25_000 }: LongPollingClientOptions = {}): ClientTransport {
  const post = (
    { fetch, url, headers }: ClientHandshake,
    frames: readonly EncodedFrame[],
    signal: AbortSignal,
    onFrame: (frame: Frame) => void,
  ) =>
    exchangeFrames(
      {
        fetch,
        url: `${url}/${name}`,
        method: 'POST',
        headers,
        frames,
        signal,
        maxBytes: Number.MAX_SAFE_INTEGER,
      },
      onFrame,
    )

  const attach = (handshake: ClientHandshake, handler: LinkHandler): Link => {
    const controller = new AbortController()
    let over = false
    let welcomed = false
    let refused = false
    let brought = false
    const finish = (code: ErrorCode, reason: string) => {
      if (over) return
      over = true
      controller.abort()
      handler.closed(code, reason)
    }
    const receive = (frame: Frame) => {
      if (over) return
      const [kind] = frame.header
      if (kind === 'refuse') refused = true
      if (kind === 'welcome') welcomed = true
      else brought = true
      handler.receive(frame)
    }
    const isOver = () => over
    const loop = async () => {
      let hurried = 0
      for (let poll = 0; !isOver(); poll++) {
        // The first is not held: its answer proves that the way works, whatever holds answers back until they end.
        const waitMs = poll === 0 ? 0 : pollWaitMs
        const asked = handshake.clock.now()
        brought = false
        await post(handshake, [handshake.attach({ poll, waitMs })], controller.signal, receive)
        if (refused) return
        if (!welcomed) throw new EverwireError('link-lost', 'the answer was empty')
        // Something on the way answers for the server; asking on would be a storm.
        hurried = poll > 0 && !brought && handshake.clock.now() - asked < waitMs / 10 ? hurried + 1 : 0
        if (hurried > maxHurried)
          throw new EverwireError('link-lost', 'polls are answered at once, with nothing')
      }
    }
    loop().then(
      () => finish('link-lost', 'refused'),
      (error: unknown) => finish(codeOf(error), String(error)),
    )
    return {
      transport: name,
      bufferedBytes: 0,
      send: (frames) => over || handshake.uplink(frames),
      close: (code, reason = '') => finish(code, reason),
    }
  }

  return {
    name,
    supported: () => true,
    attach,
    async probe(handshake, signal) {
      const nonce = randomBase32(16)
      let greeted = false
      let answered = false
      const hello = [encodeFrame(['hello', { v: protocolVersion, nonce }]), encodeFrame(['ping', 0])]
      await post(handshake, hello, signal, (frame) => {
        const [kind, fields] = frame.header
        if (kind === 'refuse') throw refusal(frame)
        if (kind === 'hello') greeted = (fields as { nonce?: unknown }).nonce === nonce
        if (kind === 'pong') answered = true
      })
      if (!greeted || !answered) throw new EverwireError('link-lost', 'the hello was not answered')
      return { attach, close() {} }
    },
  }
}
