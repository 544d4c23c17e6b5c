import { EventEmitter } from 'node:events'
import type { Server } from 'node:http'
import {
  codeInfo,
  codeOf,
  parseFrame,
  type ErrorCode,
  type Link,
  type LinkHandler,
  type ServerTransport,
} from '@everwire/core'
import websocket, { type WebSocket } from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { handOnUpgrades, mindUpgrades } from './server/upgrades.js'
import { createFrameWriter } from './server/ws-frames.js'

export interface WebSocketServerOptions {
  /** Offers permessage-deflate, and compresses publications of at least so many bytes; false for never. @default 1024 */
  compressFromBytes?: number | false
}

/** The WebSocket transport, on @fastify/websocket. */
export function webSocket({
  compressFromBytes = 1_024,
}: WebSocketServerOptions = {}): ServerTransport<FastifyInstance> {
  const writer = createFrameWriter({ thresholdBytes: compressFromBytes || Number.POSITIVE_INFINITY })
  return {
    name: 'websocket',
    async register(app, { accept, frameBytes, highWaterBytes }) {
      // A second registration would answer every upgrade twice.
      if (app.hasDecorator('websocketServer')) mindUpgrades(app)
      else {
        const upgrades = new EventEmitter()
        await app.register(websocket, {
          options: {
            // It only listens to it.
            server: upgrades as Server,
            maxPayload: frameBytes,
            perMessageDeflate:
              compressFromBytes === false
                ? false
                : { serverNoContextTakeover: true, clientNoContextTakeover: true },
          },
        })
        handOnUpgrades(app, upgrades)
      }

      app.get('/websocket', { websocket: true }, (socket, request) => {
        const deflate = socket.extensions.includes('permessage-deflate') && takesFullWindow(request)
        // All data goes through our writer, and ws itself writes control frames only: both straight to the socket, so
        // that neither overtakes the other.
        const { socket: raw } = request.raw
        let over = false
        const finish = (code: ErrorCode, reason: string) => {
          if (over) return
          over = true
          handler.closed(code, reason)
        }
        const link: Link = {
          transport: 'websocket',
          get bufferedBytes() {
            return raw.writableLength
          },
          send(frames) {
            if (over || socket.readyState !== socket.OPEN) return true
            raw.write(writer.encode(frames, deflate))
            return raw.writableLength < highWaterBytes
          },
          close(code, reason = '') {
            closeSocket(socket, code)
            finish(code, reason)
          },
        }
        const handler: LinkHandler = accept(link, { request })

        socket.on('message', (data: Buffer, binary: boolean) => {
          if (over) return
          try {
            handler.receive(parseFrame(data, { binary, maxBytes: frameBytes }))
          } catch (error) {
            link.close(codeOf(error), error instanceof Error ? error.message : '')
          }
        })
        raw.on('drain', () => {
          if (!over) handler.drained()
        })
        socket.on('error', (error: Error & { code?: string }) =>
          finish(codeOfSocketError(error.code), error.message),
        )
        socket.on('close', () => finish('link-lost', 'the socket closed'))
      })
    },
  }
}

/** The reason on the wire is the code itself: reasons are bounded to 123 bytes, and proxies like to change numbers. */
const closeSocket = (socket: WebSocket, code: ErrorCode) =>
  socket.close(codeInfo(code).close, code.slice(0, 40))

/** What ws itself found wrong with the bytes. */
function codeOfSocketError(code = ''): ErrorCode {
  if (code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') return 'frame-too-large'
  return code.startsWith('WS_ERR_') ? 'bad-frame' : 'link-lost'
}

/** Shared messages are compressed with the full window; who asked for a smaller one could not read them. */
function takesFullWindow({ headers }: FastifyRequest): boolean {
  const offers = headers['sec-websocket-extensions'] ?? ''
  return [...offers.matchAll(/server_max_window_bits\s*=\s*"?(\d+)/g)].every(
    ([, bits]) => Number(bits) === 15,
  )
}
