import { assertChannelName, decodeData, EverwireError, type Position } from '@everwire/core'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ChannelAccess } from './access.js'
import { sendError, setCommonHeaders } from './answer.js'
import { binaryType, type ChannelPublishing } from './publishing.js'
import type { ChannelReads } from './reads.js'
import { positionToken } from './position-token.js'
import type { Tickets } from './tickets.js'

export interface ChannelRoutesOptions {
  reads: ChannelReads
  publishing: ChannelPublishing
  access: ChannelAccess
  tickets: Tickets
  /** Largest payload. */
  payloadBytes: number
}

// A wildcard: the length of a parameter is bounded by the application, that of a channel name by its grammar.
const channelPath = '/channels/*'

/** Access without a library: channels as resources. PROTOCOL.md, "Without a library". */
export async function registerChannelRoutes(
  parent: FastifyInstance,
  { reads, publishing, access, tickets, payloadBytes }: ChannelRoutesOptions,
): Promise<void> {
  await parent.register(async (scope) => {
    scope.addHook('onRequest', async (_request, reply) => setCommonHeaders(reply))
    scope.setErrorHandler(sendError)
    scope.removeAllContentTypeParsers()
    // No form can send these; and the payload stays as it came.
    scope.addContentTypeParser(
      ['application/json', binaryType],
      { parseAs: 'buffer', bodyLimit: payloadBytes },
      (_request, body, done) => done(null, body),
    )

    scope.get(channelPath, { exposeHeadRoute: false }, (request, reply) => reads.get(request, reply))
    scope.head(channelPath, (request, reply) => reads.head(request, reply))
    scope.post(channelPath, async (request, reply) => answer(reply, await publishing.toChannel(request)))
    scope.post('/users/*', async (request, reply) => answer(reply, await publishing.toUser(request)))
    scope.post('/tickets', async (request) => {
      const channel = ticketChannel(request)
      return tickets.issue(await access.authenticate(request), channel)
    })
    scope.route({
      method: ['PUT', 'PATCH', 'DELETE'],
      url: channelPath,
      // Before a body is looked at.
      onRequest: async (_request, reply) => {
        reply.header('allow', 'GET, HEAD, POST')
        throw new EverwireError('method-refused', 'a channel is read with GET and published to with POST')
      },
      handler: () => {},
    })
  })
}

/** Stored, and where; or, in a channel that keeps nothing, on its way. */
function answer(reply: FastifyReply, position: Position | undefined): FastifyReply {
  if (!position) return reply.code(202).send({})
  const offset = positionToken(position)
  return reply.header('stream-next-offset', offset).send({ offset })
}

function ticketChannel({ headers, body }: FastifyRequest): string | undefined {
  if (!headers['content-type']?.toLowerCase().startsWith('application/json'))
    throw new EverwireError('content-type-refused', 'send content-type: application/json')
  const data = body instanceof Uint8Array && body.length > 0 ? body : undefined
  const { channel } = (decodeData({ data }) ?? {}) as Record<string, unknown>
  if (channel === undefined) return undefined
  if (typeof channel !== 'string') throw new EverwireError('bad-request', 'channel must be a string')
  assertChannelName(channel)
  return channel
}
