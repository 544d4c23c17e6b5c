import { createHmac, timingSafeEqual } from 'node:crypto'
import cookie from '@fastify/cookie'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks; everything under /api is refused without. */
    user: string
  }
}

/** Nothing of worth is behind it: whoever asks for a name becomes it. */
const secret = 'an example, not a secret'
const sign = (name: string) => createHmac('sha256', secret).update(name).digest('base64url')

/** What proves a name, as a cookie or as a bearer token. */
export const tokenFor = (name: string): string => `${name}.${sign(name)}`

/** Headers with which the server asks its own API what a channel's readers would get. */
export const bearerOf = (channel: string): Record<string, string> => ({
  authorization: `Bearer ${tokenFor(channel.startsWith('inbox:') ? channel.slice('inbox:'.length) : 'service')}`,
})

function nameIn(token: string | undefined): string | undefined {
  const [, name, signature] = /^(\w{1,40})\.([\w-]{43})$/.exec(token ?? '') ?? []
  if (!name || !signature) return undefined
  return timingSafeEqual(Buffer.from(sign(name)), Buffer.from(signature)) ? name : undefined
}

/** Who asks: by a token that came beside the request, by its cookie, or as its bearer. */
export const userOf = ({ cookies, headers }: FastifyRequest, token?: string): string | undefined =>
  nameIn(token ?? cookies.session ?? /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1])

async function plugin(app: FastifyInstance): Promise<void> {
  await app.register(cookie)
  app.decorateRequest('user', '')
  app.addHook('onRequest', async (request, reply) => {
    request.user = userOf(request) ?? ''
    if (request.url.startsWith('/api/') && !request.user)
      return await reply.code(401).send({ message: 'Who are you? Ask /login?user=NAME first.' })
  })
  app.get<{ Querystring: { user: string } }>(
    '/login',
    {
      schema: {
        querystring: {
          type: 'object',
          required: ['user'],
          properties: { user: { type: 'string', pattern: '^\\w{1,40}$' } },
        },
      },
    },
    async (request, reply) =>
      await reply
        .setCookie('session', tokenFor(request.query.user), { path: '/', httpOnly: true, sameSite: 'lax' })
        .redirect('/'),
  )
}

/** Knows who asks, and lets nobody else at the API. */
export const users = fp(plugin, { name: 'users' })
