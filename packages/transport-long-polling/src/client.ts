import {
  createGreeting,
  createHttpLink,
  EverwireError,
  exchangeFrames,
  type ClientTransport,
} from '@everwire/core'

export interface LongPollingClientOptions {
  /** How long the server may hold a poll; it, and what is known of the path, may shorten this. @default 25000 */
  pollWaitMs?: number
}

const name = 'long-polling'
/** Empty answers in a row that may come long before their time. */
const maxHurried = 3

/** The long polling transport: what is left when everything on the path holds streams back. */
export function longPolling({ pollWaitMs = 25_000 }: LongPollingClientOptions = {}): ClientTransport {
  const attach: ClientTransport['attach'] = (handshake, handler) =>
    createHttpLink(name, handshake, handler, async (signal, receive) => {
      const { clock } = handshake
      let refused = false
      let welcomed = false
      let hurried = 0
      for (let poll = 0; !signal.aborted; poll++) {
        // The first is not held: its answer proves that the way works, whatever holds answers back until they end.
        const waitMs = poll && Math.ceil(Math.min(pollWaitMs, handshake.idleMs / 2))
        const asked = clock.now()
        let brought = false
        await exchangeFrames(
          handshake,
          name,
          [handshake.attach({ poll, waitMs })],
          (frame) => {
            const [kind] = frame.header
            if (kind === 'refuse') refused = true
            if (kind === 'welcome') welcomed = true
            else brought = true
            receive(frame)
          },
          { signal },
        )
        if (refused) return
        // Something on the way answers for the server; asking on would be a storm.
        hurried = poll && !brought && clock.now() - asked < waitMs / 10 ? hurried + 1 : 0
        if (!welcomed || hurried > maxHurried) throw new EverwireError('link-lost', 'answered with nothing')
      }
    })

  return {
    name,
    supported: () => true,
    attach,
    async probe(handshake, signal) {
      const { frames, hear } = createGreeting()
      let works = false
      await exchangeFrames(handshake, name, frames, (frame) => (works ||= hear(frame)), { signal })
      if (!works) throw new EverwireError('link-lost', 'no hello')
      return { attach, close() {} }
    },
  }
}
