import type { Welcome } from './attach.js'
import type { ErrorCode } from './codes.js'
import { EverwireError } from './errors.js'
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
  let over = false
  let started = false
  const finish = (code: ErrorCode, reason?: string, retryAfterMs?: number) => {
    if (over) return
    over = true
    uplink.stop()
    controller.abort()
    handler.closed(code, reason, retryAfterMs)
  }
  const fail = (error: unknown) => {
    const { code, message, retryAfterMs } =
      error instanceof EverwireError ? error : new EverwireError('internal', String(error))
    finish(code, message, retryAfterMs)
  }
  const receive = (frame: Frame) => {
    if (over) return
    const [kind, fields] = frame.header as [string, Welcome]
    if (kind === 'welcome' && !started) {
      started = true
      uplink.start(fields.applied + 1)
    }
    handler.receive(frame)
  }
  const uplink = createUplink(handshake, receive, fail)
  readDown(controller.signal, receive).then(() => finish('link-lost', 'it ended'), fail)
  return {
    transport,
    bufferedBytes: 0,
    send(frames) {
      if (!over) uplink.send(frames)
      return true
    },
    close: finish,
  }
}
