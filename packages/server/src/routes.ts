import cors from '@fastify/cors'
import {
  codeInfo,
  codeOf,
  encodeEvents,
  encodeFrame,
  EverwireError,
  eventStreamType,
  framesHeader,
  fromUtf8,
  parseEvents,
  retryAfter,
} from '@everwire/core'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { exposedHeaders } from './library-free/answer.js'
import type { Gateway } from './gateway.js'
import type { Settings } from './options.js'

export interface RoutesOptions {
  gateway: Gateway
  /** New clients are welcome. */
  isReady(): boolean
  settings: Settings
}

const uplinkBytes = 1_048_576

/** The requests that are not links: opening a session, and the way up for the transports that are one-way. */
export async function registerRoutes(
  scope: FastifyInstance,
  { gateway, isReady, settings: { origins, frameBytes } }: RoutesOptions,
): Promise<void> {
  // An application that has @fastify/cors already decides for all of its routes; there cannot be a second.
  if (origins.length > 0 && !scope.hasRequestDecorator('corsPreflightEnabled'))
    await scope.register(cors, {
      origin: [...origins],
      credentials: true,
      methods: ['GET', 'POST'],
      allowedHeaders: [
        'content-type',
        'authorization',
        'idempotency-key',
        'if-none-match',
        'last-event-id',
        framesHeader,
      ],
      exposedHeaders: [...exposedHeaders],
      maxAge: 7_200,
    })

  scope.addHook('onRequest', async (request) => {
    const { origin } = request.headers
    if (origin === undefined || origins.includes(origin) || isSameHost(origin, request)) return
    throw new EverwireError('origin-refused', `add ${origin} to the origins option if its pages may connect`)
  })

  scope.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
    const code =
      error.statusCode === 413
        ? 'frame-too-large'
        : codeOf(error, error.statusCode === 400 || error.statusCode === 415 ? 'bad-frame' : 'internal')
    // Rate limits and the like of the application answer in their own way.
    if (code === 'internal' && error.statusCode !== undefined && error.statusCode < 500)
      return reply.send(error)
    if (code === 'internal') request.log.error({ err: error }, 'everwire: request failed')
    else request.log.info({ code, reason: error.message }, 'everwire: request refused')
    const retryAfterMs = error instanceof EverwireError ? error.retryAfterMs : undefined
    return refuse(reply, code, code === 'internal' ? 'the server failed' : error.message, retryAfterMs)
  })

  // For load balancers and orchestrators: who is not ready gets no new clients; who does not live is started anew.
  scope.get('/livez', async (_request, reply) => reply.header('cache-control', 'no-store').send('ok\n'))
  scope.get('/readyz', async (_request, reply) =>
    reply
      .code(isReady() ? 200 : 503)
      .header('cache-control', 'no-store')
      .send(isReady() ? 'ready\n' : 'not ready\n'),
  )

  // Frames are the only bodies here, and no form can send them; but for the one request that is plain JSON.
  scope.removeAllContentTypeParsers()
  await scope.register(async (json) => {
    json.addContentTypeParser(
      'application/json',
      { parseAs: 'string' },
      json.getDefaultJsonParser('error', 'error'),
    )
    json.post('/session', async (request, reply) => {
      const opened = await gateway.open((request.body ?? {}) as Record<string, unknown>, { request })
      return reply.header('cache-control', 'no-store').send(opened)
    })
  })
  scope.addContentTypeParser(
    eventStreamType,
    { parseAs: 'buffer', bodyLimit: uplinkBytes + frameBytes },
    (_request, body, done) => {
      try {
        done(null, parseEvents(fromUtf8(body as Buffer), { maxBytes: frameBytes }))
      } catch (error) {
        done(error instanceof EverwireError ? error : new EverwireError('bad-frame', 'the body is not UTF-8'))
      }
    },
  )

  scope.post('/uplink', async (request, reply) => {
    const [head, ...frames] = (request.body ?? []) as ReturnType<typeof parseEvents>
    if (head?.header[0] !== 'uplink') throw new EverwireError('bad-frame', 'the first frame must be uplink')
    const applied = await gateway.uplink(head.header[1] as Record<string, unknown>, frames, { request })
    return sendEvents(reply, 200, encodeEvents([encodeFrame(['seen', applied])]))
  })
}

function refuse(
  reply: FastifyReply,
  code: ReturnType<typeof codeOf>,
  message: string,
  retryAfterMs: number | undefined,
) {
  const frame = encodeFrame(['refuse', code, message, ...(retryAfterMs === undefined ? [] : [retryAfterMs])])
  reply.headers(retryAfter(retryAfterMs))
  return sendEvents(reply, codeInfo(code).status, encodeEvents([frame]))
}

const sendEvents = (reply: FastifyReply, status: number, body: string) =>
  reply.code(status).header('content-type', eventStreamType).header('cache-control', 'no-store').send(body)

function isSameHost(origin: string, { host }: FastifyRequest): boolean {
  return URL.canParse(origin) && new URL(origin).host === host
}
