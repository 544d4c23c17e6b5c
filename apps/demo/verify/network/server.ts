import { fileURLToPath } from 'node:url'
import { everwire } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import { webSocket } from '@everwire/transport-websocket/server'
import { build } from 'esbuild'
import fastify from 'fastify'
import type { Entry } from './entry.js'

/** Path that everything of Everwire stands under. */
export const prefix = '/everwire'
export const serverName = 'server'

const publishEveryMs = 20

/** Publishes to one channel, steadily, and writes down what. */
export interface Publisher {
  readonly entries: readonly Entry[]
  /** Highest number that was accepted. */
  readonly accepted: number
  publish(on: boolean): void
}

export interface LabServer {
  readonly host: string
  readonly port: number
  publisher(channel: string): Publisher
  close(): Promise<void>
}

/** A real server with every transport, whose page carries the recorder. */
export async function startServer(): Promise<LabServer> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('recorder.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'iife',
    globalName: 'lab',
    target: 'es2022',
    conditions: ['@everwire/source'],
    logLevel: 'warning',
  })
  const app = fastify({ forceCloseConnections: true })
  await app.register(everwire, {
    prefix,
    transports: [webSocket(), sse(), longPolling()],
    authenticate: () => ({ userId: null }),
  })
  app.everwire.channel('lab:*', { history: { size: 10_000 }, subscribe: true, publish: true })
  app.get('/lab', (_request, reply) =>
    reply.type('text/html').send('<!doctype html><title>lab</title><script src="/lab.js"></script>'),
  )
  app.get('/lab.js', (_request, reply) => reply.type('text/javascript').send(outputFiles[0]!.text))
  app.get('/favicon.ico', (_request, reply) => reply.code(204).send())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const timers: NodeJS.Timeout[] = []

  return {
    host: '127.0.0.1',
    port: (app.server.address() as { port: number }).port,
    publisher(channel) {
      const entries: Entry[] = []
      let [isOn, sent, accepted] = [false, 0, 0]
      const publishOne = async (n: number) => {
        entries.push({ at: Date.now(), kind: 'publishing', publisher: serverName, n })
        await app.everwire.publish(channel, 'n', { publisher: serverName, n })
        accepted = Math.max(accepted, n)
        entries.push({ at: Date.now(), kind: 'accepted', publisher: serverName, n })
      }
      timers.push(setInterval(() => void (isOn && publishOne(++sent)), publishEveryMs))
      return {
        entries,
        get accepted() {
          return accepted
        },
        publish(on) {
          isOn = on
        },
      }
    },
    async close() {
      timers.forEach(clearInterval)
      await app.close()
    },
  }
}
