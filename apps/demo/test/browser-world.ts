import { everwire } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import { webSocket } from '@everwire/transport-websocket/server'
import { build } from 'esbuild'
import Fastify from 'fastify'
import type { AddressInfo } from 'node:net'
import { launchChromium } from '@everwire/testkit/chromium'
import { until } from '../verify/support/until.js'

export type ServerOptions = Omit<Parameters<typeof everwire>[1], 'transports' | 'authenticate'>

/**
 * A server and a browser of a test: an empty page with what `page` exports as `window.page`. Whoever comes says who it
 * is by the token; the part of it after `!` says when it expires, in milliseconds since 1970.
 */
export async function createBrowserWorld(options: ServerOptions = {}, browserArgs: string[] = []) {
  const { outputFiles } = await build({
    entryPoints: [`${import.meta.dirname}/browser-page.ts`],
    ...{ bundle: true, write: false, format: 'esm', target: 'es2022', conditions: ['@everwire/source'] },
    logLevel: 'warning',
  })
  const app = Fastify({ forceCloseConnections: true })
  const expired: string[] = []
  await app.register(everwire, {
    ...options,
    transports: [webSocket(), sse(), longPolling()],
    authenticate({ token = '' }) {
      const [userId, until] = token.split('!')
      if (until !== undefined && Number(until) <= Date.now()) expired.push(token)
      return { userId: userId || null, ...(until === undefined ? {} : { expiresAt: Number(until) }) }
    },
  })
  app.everwire.channel('chat:*', { history: { size: 1_000, ttlMs: 60_000 }, subscribe: true, publish: true })
  app.get('/page.js', (_request, reply) => reply.type('text/javascript').send(outputFiles[0]!.contents))
  for (const path of ['/', '/other'])
    app.get(path, (_request, reply) =>
      reply
        .type('text/html')
        .send('<!doctype html><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>'),
    )
  await app.listen({ port: 0, host: '127.0.0.1' })
  const browser = await launchChromium({
    // Playwright turns it off, and people have it on.
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
    args: browserArgs,
  })
  let published = 0
  let timer: ReturnType<typeof setInterval> | undefined
  return {
    app,
    browser,
    url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
    /** Tokens that had expired when they came. */
    expired,
    sessions: () => app.everwire.sessions(),
    /** How many numbers were published so far. */
    published: () => published,
    /** Publishes the numbers from 1 on, one each 20 ms. Returns what ends it. */
    publish() {
      timer = setInterval(() => void app.everwire.publish('chat:a', 'n', ++published), 20)
      return () => clearInterval(timer)
    },
    /** Some more are published. */
    async more() {
      const sofar = published
      await until('more publications', () => published > sofar + 15, 10_000)
    },
    async close() {
      clearInterval(timer)
      await browser.close()
      await app.close()
    },
  }
}
