import { protocolVersion } from './version.js'
import { randomBase32 } from './bytes.js'
import { encodeFrame, type EncodedFrame, type Frame } from './frame.js'
import { refusal } from './refusal.js'

/** The frames of a probe, and the judge of its answers: PROTOCOL.md, "Opening". */
export function createGreeting(): {
  frames: readonly EncodedFrame[]
  /**
   * @returns whether hello and ping have come back now
   * @throws EverwireError what the server refuses with
   */
  hear(frame: Frame): boolean
} {
  const nonce = randomBase32(16)
  let greeted = false
  return {
    frames: [encodeFrame(['hello', { v: protocolVersion, nonce }]), encodeFrame(['ping', 0])],
    hear(frame) {
      const [kind, fields] = frame.header
      if (kind === 'refuse') throw refusal(frame)
      if (kind === 'hello') greeted = (fields as { nonce?: unknown }).nonce === nonce
      return kind === 'pong' && greeted
    },
  }
}
