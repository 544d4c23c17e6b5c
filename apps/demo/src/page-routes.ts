import staticFiles from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import { newVisitorCookie, visitorOf } from './visitors.js'

const headers = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "font-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
}

/** The page and the lab, and the cookie by which the path knows its visitor. */
export async function addPage(app: FastifyInstance, { publicDir }: { publicDir: string }): Promise<void> {
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(headers)
    const [path] = request.url.split('?')
    if ((path === '/' || path === '/lab') && visitorOf(request.headers.cookie) === undefined)
      reply.header('set-cookie', newVisitorCookie())
  })
  app.get('/lab', (_request, reply) => reply.sendFile('lab.html'))
  await app.register(staticFiles, {
    root: publicDir,
    cacheControl: false,
    setHeaders(reply, path) {
      // The names of the fonts hold their hashes.
      const cached = path.endsWith('.woff2') ? 'public, max-age=31536000, immutable' : 'no-cache'
      reply.header('cache-control', cached)
    },
  })
}
