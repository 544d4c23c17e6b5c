import {
  codeOf,
  createResponseLink,
  encodeEvent,
  endWithConnection,
  EverwireError,
  framesHeader,
  parseHeader,
  type EncodedFrame,
  type Frame,
  type ServerTransport,
} from '@everwire/core'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** The Server-Sent Events transport: one response that never ends; the way up is a request of its own. */
export function sse(): ServerTransport<FastifyInstance> {
  const events = new WeakMap<EncodedFrame, Uint8Array>()
  const encode = (frame: EncodedFrame): string | Uint8Array => {
    // A publication becomes bytes once, however many streams carry it.
    if (frame.channel === undefined) return encodeEvent(frame)
    let event = events.get(frame)
    if (!event) events.set(frame, (event = Buffer.from(encodeEvent(frame))))
    return event
  }
  return {
    name: 'sse',
    register(app, { accept, highWaterBytes, clock }) {
      const open = (request: FastifyRequest, reply: FastifyReply, frames: readonly Frame[]) => {
        reply.hijack()
        const { raw: response } = reply
        const link = createResponseLink({
          transport: 'sse',
          response,
          headers: reply.getHeaders(),
          highWaterBytes,
          clock,
          encode,
        })
        const handler = (link.handler = accept(link, { request }))
        endWithConnection(link, response)
        response.on('drain', () => handler.drained())
        for (const frame of frames) handler.receive(frame)
      }
      // GET is what proxies know as an event stream; POST gets through some that hold those back.
      app.get('/sse', (request, reply) => open(request, reply, headerFrames(request)))
      app.post('/sse', (request, reply) => open(request, reply, bodyFrames(request)))
    },
  }
}

function headerFrames({ headers }: FastifyRequest): Frame[] {
  const value = headers[framesHeader]
  if (typeof value !== 'string') throw new EverwireError('bad-frame', `the header ${framesHeader} is missing`)
  try {
    return (JSON.parse(value) as unknown[]).map((header) => ({ header: parseHeader(JSON.stringify(header)) }))
  } catch (cause) {
    throw new EverwireError(codeOf(cause, 'bad-frame'), `the header ${framesHeader} holds no frames`, {
      cause,
    })
  }
}

function bodyFrames({ body }: FastifyRequest): Frame[] {
  if (!Array.isArray(body)) throw new EverwireError('bad-frame', 'the body must be an event stream of frames')
  return body as Frame[]
}
