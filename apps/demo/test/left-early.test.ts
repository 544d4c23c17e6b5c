import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { encodeEvents, encodeFrame, eventStreamType, protocolVersion } from '@everwire/core'
import { everwire } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import fastify from 'fastify'
import t from 'tap'

// An application's hooks may take their time, and clients go away meanwhile.

const fields = { v: protocolVersion, gen: 1, place: 'p', poll: 0, cursor: 0, acked: 0, waitMs: 20_000 }

function attach(url: string, place: string) {
  const request = httpRequest(url, { method: 'POST', headers: { 'content-type': eventStreamType } })
  request.on('error', () => {})
  request.end(encodeEvents([encodeFrame(['attach', { ...fields, place }])]))
  return request
}

for (const transport of [sse(), longPolling()])
  t.test(`${transport.name}: who left while a hook was awaited is not attached`, async (t) => {
    const app = fastify({ forceCloseConnections: true })
    let entered = () => {}
    let go = () => {}
    const inHook = new Promise<void>((resolve) => (entered = resolve))
    const left = new Promise<void>((resolve) => (go = resolve))
    app.addHook('preHandler', async () => {
      entered()
      await left
    })
    await app.register(everwire, { transports: [transport], authenticate: () => ({ userId: null }) })
    const url = `${await app.listen({ port: 0, host: '127.0.0.1' })}/everwire/${transport.name}`
    t.teardown(() => app.close())
    const gone = new Promise<void>((resolve) =>
      app.server.once('request', (_, response) => response.once('close', resolve)),
    )
    const early = attach(url, 'early')
    await inHook
    early.destroy()
    await gone
    go()
    // Who asks after it is answered after it.
    const later = attach(url, 'later')
    await once(later, 'response')
    t.equal(app.everwire.sessions().length, 1)
    later.destroy()
  })
