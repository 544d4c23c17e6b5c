import type { Welcome } from './attach.js'
import { codeOf, type EverwireError } from './errors.js'
import type { Frame } from './frame.js'
import type { Link, LinkHandler } from './link.js'
import type { ClientHandshake } from './transport.js'
import { createUplink } from './uplink.js'

/** Reads what comes down until it ends; rejects when that is no good end. */
export type ReadDown = (signal: AbortSignal, receive: (frame: Frame) => void) => Promise<void>

/** The client's end of a link over HTTP: what comes down is the transport's own, what goes up are requests beside it. */
export function createHttpLink(
  transport: string,
  handshake: ClientHandshake,
  handler: LinkHandler,
  readDown: ReadDown,
): Link {
  const controller = new AbortController()
  const { signal } = controller
  let started = false
  const close: LinkHandler['closed'] = (code, ...why) => {
    if (signal.aborted) return
    uplink.stop()
    controller.abort()
    handler.closed(code, ...why)
  }
  const fail = (error: unknown) => {
    const { message, retryAfterMs } = error as EverwireError
    close(codeOf(error), message, retryAfterMs)
  }
  const receive = (frame: Frame) => {
    if (signal.aborted) return
    const [kind, fields] = frame.header as [string, Welcome]
    if (kind === 'welcome' && !started) {
      started = true
      uplink.start(fields.applied + 1)
    }
    handler.receive(frame)
  }
  const uplink = createUplink(handshake, receive, fail)
  readDown(signal, receive).then(() => close('link-lost', 'it ended'), fail)
  return {
    transport,
    bufferedBytes: 0,
    send(frames) {
      uplink.send(frames)
      return true
    },
    close,
  }
}
