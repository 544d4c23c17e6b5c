import {
  codeInfo,
  codeOf,
  EverwireError,
  streamHeaders,
  type ErrorCode,
  type HistoryClass,
} from '@everwire/core'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { refusalEvent, retryAfter } from './events.js'
import { isEventSource } from './request.js'
import type { ChannelRule } from '../channels/rules.js'

/** Headers of their own that pages on other origins must be let see. */
export const exposedHeaders: readonly string[] = [
  'retry-after',
  'etag',
  'stream-next-offset',
  'stream-up-to-date',
  'stream-cursor',
  'everwire-gap',
]

/** How much an answer may be kept by caches on the way: in a public channel only, and never longer than its history. */
export type Freshness = 'immutable' | 'interval' | 'tail' | 'none'

/** One interval of the cursor. */
const intervalSeconds = 20
const yearSeconds = 31_536_000
const retryMs = { least: 2_000, most: 6_000 }

export function cacheControl({ public: isPublic, history }: ChannelRule, freshness: Freshness): string {
  if (!isPublic || !history || freshness === 'none') return 'no-store'
  if (freshness === 'tail') return 'public, max-age=1'
  const kept = keptSeconds(history)
  if (freshness === 'interval') return `public, max-age=${Math.min(intervalSeconds, kept)}`
  return `public, max-age=${Math.min(yearSeconds, kept)}, immutable`
}

const keptSeconds = ({ ttlMs }: HistoryClass) => Math.max(1, Math.floor(ttlMs / 1_000))

/** What holds for every answer. A browser may neither guess its type nor embed it elsewhere. */
export function setCommonHeaders(reply: FastifyReply): void {
  reply.header('x-content-type-options', 'nosniff')
  reply.header('cross-origin-resource-policy', 'same-origin')
  reply.header('cache-control', 'no-store')
  const vary = reply.getHeader('vary')
  reply.header('vary', vary === undefined ? 'Accept' : `${String(vary)}, Accept`)
}

/** Whether the client has an answer with this tag already (RFC 9110 §13.1.2). */
export function isKnown(ifNoneMatch: string | undefined, tag: string): boolean {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  return ifNoneMatch.split(',').some((entry) => entry.trim().replace(/^W\//, '') === tag)
}

/** Answers with an error: as JSON, or so that an EventSource comes back where it may. */
export function sendError(
  error: Error & { statusCode?: number },
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const code = codeOf(error, codeOfStatus(error.statusCode))
  const { status } = codeInfo(code)
  if (code === 'internal') request.log.error({ err: error }, 'everwire: request failed')
  else request.log.info({ code, reason: error.message.slice(0, 200) }, 'everwire: request refused')
  const message = code === 'internal' ? 'the server failed' : error.message
  const wait = (error instanceof EverwireError ? error.retryAfterMs : undefined) ?? between()
  const isPassing = status >= 500 || status === 429
  if (isPassing && isEventSource(request))
    return reply
      .code(200)
      .headers(streamHeaders)
      .send(retryAfter(wait) + refusalEvent(code, message))
  if (isPassing) reply.header('retry-after', Math.ceil(wait / 1_000))
  if (status === 401) reply.header('www-authenticate', 'Bearer')
  return sendRefusal(reply, code, { message })
}

export const sendRefusal = (reply: FastifyReply, code: ErrorCode, more: Record<string, string>) =>
  reply
    .code(codeInfo(code).status)
    .header('cache-control', 'no-store')
    .header('content-type', 'application/json; charset=utf-8')
    .send(JSON.stringify({ code, ...more }))

const between = () => retryMs.least + Math.random() * (retryMs.most - retryMs.least)

/** What Fastify, or a plugin of the application such as a rate limit, refused. */
function codeOfStatus(status: number | undefined): ErrorCode {
  if (status === 413) return 'frame-too-large'
  if (status === 415) return 'content-type-refused'
  if (status === 429) return 'rate-limited'
  if (status === 401) return 'unauthorized'
  if (status === 403) return 'forbidden'
  return status !== undefined && status >= 400 && status < 500 ? 'bad-request' : 'internal'
}
