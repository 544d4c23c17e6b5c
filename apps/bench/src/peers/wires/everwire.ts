import type { Hear, Wire } from './wire.js'

const channel = 'bench:all'
const quote = '"'.charCodeAt(0)
const letterM = 'm'.charCodeAt(0)

const header = (...fields: unknown[]) => JSON.stringify(fields)
const kindOf = (frame: Buffer) => frame.toString('latin1', 2, frame.indexOf(quote, 2))

/** As PROTOCOL.md has it. Session frames are counted, and confirmed as often as the welcome asks for. */
function createHear(): Hear {
  let received = 0
  let confirmed = 0
  let ackFrames = 0
  return (frame, say) => {
    // Most are publications: they must not cost the load more here than with the others.
    const kind = frame[2] === letterM && frame[3] === quote ? 'm' : kindOf(frame)
    switch (kind) {
      case 'welcome':
        ackFrames = (JSON.parse(frame.toString()) as [string, { ackFrames: number }])[1].ackFrames
        return 'ready'
      case 'ping':
        say(header('pong', received))
        return undefined
      case 'm':
      case 'ack':
      case 'reply':
        received++
        if (received - confirmed < ackFrames) break
        confirmed = received
        say(header('seen', received))
        break
      case 'seen':
      case 'pong':
        return undefined
      default:
        throw new Error(`Everwire refused: ${frame.toString()}`)
    }
    if (kind === 'm') return 'publication'
    return kind === 'ack' ? 'subscribed' : 'echo'
  }
}

export const everwireWire: Wire = {
  path: '/everwire/websocket',
  greeting: header('attach', { v: 1, gen: 1, place: 'bench', poll: 0, cursor: 0, acked: 0 }),
  subscription: header('sub', channel),
  publication: (payload) => `${header('pub', channel, 'message')}\n${payload}`,
  echo: (payload) => `${header('req', 'echo')}\n${payload}`,
  createHear,
}
