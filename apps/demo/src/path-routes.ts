import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { endedBy, readFaults, type FaultName } from './path-faults.js'
import { visitorOf, type Visitors } from './visitors.js'

export interface PathRoutesOptions {
  visitors: Visitors
  /** Cuts what a visitor has open of these kinds. */
  cut(visitor: string, names: readonly FaultName[]): void
}

const bodyLimit = 1_024

/**
 * The controls of the path, each for the visitor that asks alone:
 * `GET /path/faults` · `POST /path/faults` with some faults, `POST /path/cut`; all answer with the faults that hold.
 */
export async function addPathRoutes(
  app: FastifyInstance,
  { visitors, cut }: PathRoutesOptions,
): Promise<void> {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const status = error.statusCode ?? 500
    if (status < 500) return refuse(reply, error.message)
    request.log.error({ err: error }, 'demo: path route failed')
    return reply.code(500).send({ error: 'the demo failed' })
  })
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('cache-control', 'no-store')
  })

  const visitorFor = (request: FastifyRequest) => visitorOf(request.headers.cookie)
  const stranger = 'no visitor cookie: load the page first'

  app.get('/path/faults', (request) => visitors.faults(visitorFor(request)))

  app.post('/path/faults', { bodyLimit }, (request, reply) => {
    const visitor = visitorFor(request)
    if (visitor === undefined) return refuse(reply, stranger)
    const change = readFaults(request.body)
    if (typeof change === 'string') return refuse(reply, change)
    const before = visitors.faults(visitor)
    const faults = visitors.change(visitor, change)
    if (!faults) return reply.code(503).send({ error: 'too many visitors have a broken path now' })
    const ended = endedBy(before, faults)
    if (ended.length > 0) cut(visitor, ended)
    return reply.send(faults)
  })

  app.post('/path/cut', { bodyLimit }, (request, reply) => {
    const visitor = visitorFor(request)
    if (visitor === undefined) return refuse(reply, stranger)
    cut(visitor, ['cable'])
    return reply.send(visitors.faults(visitor))
  })
}

const refuse = (reply: FastifyReply, error: string) => reply.code(400).send({ error })
