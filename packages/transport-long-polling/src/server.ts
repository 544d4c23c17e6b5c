import {
  createResponseLink,
  endWithConnection,
  EverwireError,
  type Frame,
  type ServerTransport,
} from '@everwire/core'
import type { FastifyInstance } from 'fastify'

/**
 * The long polling transport: an event stream that ends after its first batch. Each poll is an attach with a cursor,
 * so that one that is lost, doubled or late does no harm.
 */
export function longPolling(): ServerTransport<FastifyInstance> {
  return {
    name: 'long-polling',
    register(app, { accept, highWaterBytes, pollWaitMs, clock }) {
      app.post('/long-polling', (request, reply) => {
        const frames = request.body
        if (!Array.isArray(frames))
          throw new EverwireError('bad-frame', 'the body must be an event stream of frames')
        reply.hijack()
        const { raw: response } = reply
        const link = createResponseLink({
          transport: 'long-polling',
          response,
          headers: reply.getHeaders(),
          highWaterBytes,
          clock,
          poll: { waitMs: Math.min(waitOf(frames[0] as Frame | undefined), pollWaitMs) },
        })
        const handler = (link.handler = accept(link, { request }))
        endWithConnection(link, response)
        for (const frame of frames as Frame[]) handler.receive(frame)
      })
    },
  }
}

/** How long the client lets this poll be held; not at all unless it says so. */
function waitOf(first: Frame | undefined): number {
  const { waitMs } = (first?.header[0] === 'attach' ? first.header[1] : {}) as { waitMs?: unknown }
  return typeof waitMs === 'number' ? waitMs : 0
}
