import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { nodeActions, type NodeAction, type NodesStatus } from '../shared.js'
import { visitorOf } from '../visitors.js'
import type { Nodes } from './nodes.js'

export interface NodeRoutesOptions {
  /** Missing where the demo is one process. */
  nodes?: Pick<Nodes, 'status' | 'act'>
}

const bodyLimit = 1_024
const onePlace: NodesStatus = { nodes: [], totals: { handedOver: 0, relayed: 0, recovered: 0 } }

/**
 * The controls of the nodes, which are the same for all visitors:
 * `GET /nodes` · `POST /nodes/:place/kill`, `drain`, `start`; all answer with how the nodes are.
 */
export async function addNodeRoutes(app: FastifyInstance, { nodes }: NodeRoutesOptions): Promise<void> {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const status = error.statusCode ?? 500
    if (status < 500) return refuse(reply, 400, error.message)
    request.log.error({ err: error }, 'demo: node route failed')
    return refuse(reply, 500, 'the demo failed')
  })
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('cache-control', 'no-store')
  })

  app.get('/nodes', () => nodes?.status() ?? onePlace)
  if (!nodes) return

  app.post<{ Params: { place: string; action: string } }>(
    '/nodes/:place/:action',
    { bodyLimit },
    async (request, reply) => {
      // The cookie comes with the page's own requests only: no other site can press these buttons.
      if (visitorOf(request.headers.cookie) === undefined)
        return refuse(reply, 400, 'no visitor cookie: load the page first')
      const { place, action } = request.params
      if (!isAction(action)) return refuse(reply, 400, `a node can ${nodeActions.join(', ')}, nothing else`)
      const count = nodes.status().nodes.length
      if (!/^\d$/.test(place) || Number(place) < 1 || Number(place) > count)
        return refuse(reply, 400, `the nodes are 1 to ${count}`)
      const refusal = await nodes.act(Number(place), action)
      return refusal === undefined ? reply.send(nodes.status()) : refuse(reply, 409, refusal)
    },
  )
}

const isAction = (action: string): action is NodeAction => nodeActions.some((known) => known === action)

const refuse = (reply: FastifyReply, status: number, error: string) => reply.code(status).send({ error })
