import type { FastifyRequest } from 'fastify'
import type { TLSSocket } from 'node:tls'
import type { PollingBridgeOptions, PollSettings } from './options.js'

/** Headers that say nothing of who asks, or what for: those of connections, caches, tracing and browsers. */
const harmless = new Set([
  'accept-encoding',
  'cache-control',
  'connection',
  'content-length',
  'date',
  'dnt',
  'everwire-mode',
  'if-modified-since',
  'if-none-match',
  'keep-alive',
  'pragma',
  'priority',
  'referer',
  'save-data',
  'te',
  'traceparent',
  'tracestate',
  'upgrade-insecure-requests',
  'user-agent',
  'x-request-id',
])
const ofBrowsers = /^sec-(ch|fetch|gpc)/

/** Whatever of a request may tell users apart. */
function traits(request: FastifyRequest): unknown {
  const headers = Object.entries(request.headers).filter(
    ([name]) => !harmless.has(name) && !ofBrowsers.test(name),
  )
  const socket = request.raw.socket as Partial<TLSSocket> | null
  return [request.ip, socket?.getPeerCertificate?.()?.fingerprint256, headers.sort()]
}

/**
 * Who asks, as the application says; undefined where it does not.
 * @throws TypeError when that is no text, and what `user` throws
 */
export function userOf(request: FastifyRequest, user: PollingBridgeOptions['user']): string | undefined {
  const named: unknown = user?.(request)
  // Many an application calls nobody ''.
  if (named === undefined || named === null || named === '') return undefined
  if (typeof named === 'string') return named
  if (typeof named === 'number') return String(named)
  throw new TypeError(`user must give a text, null or undefined; it gave ${describe(named)}`)
}

const describe = (value: unknown) => (value instanceof Promise ? 'a promise' : `a ${typeof value}`)

/** Two requests with equal keys get the same answer, unless its `Vary` says otherwise. */
export function pollKey(
  request: FastifyRequest,
  { shared }: PollSettings,
  who: (request: FastifyRequest) => string | undefined,
): string {
  const { headers } = request
  return JSON.stringify([
    request.method,
    request.host,
    request.raw.url,
    headers.accept,
    headers['accept-language'],
    headers.range,
    shared || (who(request) ?? traits(request)),
  ])
}
