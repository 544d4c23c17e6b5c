/** One Everwire server in a process of its own, so that it can be killed. `node-process.ts` starts it. */
import { EverwireError, everwire } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import { webSocket } from '@everwire/transport-websocket/server'
import fastify, { type FastifyInstance } from 'fastify'
import { openBus } from './node-sabotage.js'
import {
  historyPattern,
  historySize,
  livePattern,
  type NodeMessage,
  type NodeQuestions,
  type NodeRequest,
  type NodeSettings,
} from './node-settings.js'

const settings = JSON.parse(process.argv[2]!) as NodeSettings
const { port, sabotage, limits } = settings

const say = (message: NodeMessage) => void process.send!(message)
// Whoever started it is gone.
process.on('disconnect', () => process.exit(0))

/** For a drain that ends before it has given anything away. */
const noTime = { noticeMs: 1, deadlineMs: 1 }

type Answers = {
  [Kind in keyof NodeQuestions]: (ask: NodeQuestions[Kind]['ask']) => Promise<NodeQuestions[Kind]['answer']>
}

const answersOf = (app: FastifyInstance): Answers => ({
  publish: ({ channel, event, data }) => app.everwire.publish(channel, event, data),
  drain: () => app.everwire.drain(sabotage === 'no-handover' ? noTime : {}),
  close: async () => void (await app.close()),
  metrics: () => app.everwire.metrics.metrics(),
  cpu: async () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  },
})

async function start(): Promise<FastifyInstance> {
  const app = fastify({ logger: { level: 'warn' }, forceCloseConnections: true })
  await app.register(everwire, {
    transports: [webSocket(), sse(), longPolling()],
    bus: await openBus(settings),
    authenticate: () => ({ userId: null }),
    // A client that is slow for a moment shall not lose its session: that is not what is verified here.
    outboxFrames: 50_000,
    outboxBytes: 33_554_432,
    maxOperations: 10_000,
    maxSubscriptions: 1_000,
    ...limits,
  })
  const open = { subscribe: true, publish: true }
  app.everwire.channel(historyPattern, { ...open, history: { size: historySize }, maxRecover: historySize })
  app.everwire.channel(livePattern, open)

  const answers = answersOf(app)
  process.on('message', ({ id, kind, ask }: NodeRequest) => {
    ;(answers[kind] as (ask: unknown) => Promise<unknown>)(ask).then(
      (answer) => {
        say({ kind: 'answered', id, answer })
        if (kind === 'close') process.disconnect()
      },
      (error: Error) =>
        say({
          kind: 'refused',
          id,
          code: error instanceof EverwireError ? error.code : '',
          message: error.message,
        }),
    )
  })
  await app.listen({ port, host: '127.0.0.1' })
  return app
}

start().then(
  (app) => say({ kind: 'ready', nodeId: app.everwire.nodeId }),
  (error: Error & { code?: string }) => {
    say({ kind: 'failed', code: error.code ?? '', message: error.message })
    process.disconnect()
  },
)
