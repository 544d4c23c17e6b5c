import type { FastifyRequest } from 'fastify'
import type { TLSSocket } from 'node:tls'
import type { PollSettings, Settings } from './options.js'

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

/** Two requests with equal keys get the same answer, unless its `Vary` says otherwise. */
export function pollKey(request: FastifyRequest, poll: PollSettings, { user }: Settings): string {
  const { headers } = request
  const named = poll.shared ? true : user?.(request)
  return JSON.stringify([
    request.method,
    request.host,
    request.raw.url,
    headers.accept,
    headers['accept-language'],
    named === undefined || named === null ? traits(request) : String(named),
  ])
}

/** Whom the roll-out counts. */
export const rolledOutAs = (request: FastifyRequest, { user }: Settings): string =>
  user?.(request) ?? request.ip
