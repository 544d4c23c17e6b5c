import { assertChannelName, EverwireError, eventStreamType } from '@everwire/core'
import type { FastifyRequest } from 'fastify'
import { readStart, type Start } from './position-token.js'

/** How a reader without a library wants what it reads. */
export type ReadMode = 'page' | 'poll' | 'draft-stream' | 'native-stream'

/** A request to read, as its URL and headers say. */
export interface ReadRequest {
  channel: string
  mode: ReadMode
  /** Undefined where it was not said. */
  start: Start | undefined
  cursor: string | undefined
  ticket: string | undefined
  /** What came back with the id of the last event. */
  grant: string | undefined
}

const maxLastEventId = 512
/** Parameters under which credentials are known to travel. They would end up in logs, histories and referrers. */
const credentialNames = ['token', 'access_token', 'authorization', 'api_key', 'key', 'bearer']

/** Only this kind of reader stops for good when it is answered with anything but 200. */
export const isEventSource = (request: FastifyRequest): boolean =>
  request.method === 'GET' &&
  (request.headers.accept ?? '').includes(eventStreamType) &&
  !Object.hasOwn(request.query as object, 'live')

/** @throws EverwireError `bad-request`, `invalid-channel`, `token-in-url` */
export function readRequest(request: FastifyRequest): ReadRequest {
  const query = readQuery(request)
  const channel = pathName(request)
  assertChannelName(channel)
  const { offset, live, cursor, ticket } = query
  const mode = isEventSource(request) ? 'native-stream' : modeOf(live)
  if (ticket !== undefined && mode !== 'native-stream')
    throw new EverwireError(
      'bad-request',
      'a ticket opens an event stream, and is not for clients that send headers',
    )
  const last = mode === 'native-stream' ? lastEventId(request) : undefined
  const start = last?.start ?? (offset === undefined ? undefined : readStart(offset))
  if (live !== undefined && start === undefined)
    throw new EverwireError('bad-request', `live=${live} needs an offset`)
  return { channel, mode, start, cursor, ticket, grant: last?.grant }
}

/** What stands in the path after the last fixed part: a channel, or a user id. */
export const pathName = (request: FastifyRequest): string => (request.params as { '*': string })['*']

/** The query, each parameter once. @throws EverwireError `bad-request`, `token-in-url` */
export function readQuery(request: FastifyRequest): Readonly<Record<string, string | undefined>> {
  const query = request.query as Record<string, unknown>
  for (const [name, value] of Object.entries(query)) {
    if (credentialNames.includes(name.toLowerCase()))
      throw new EverwireError(
        'token-in-url',
        `a URL is no place for ${name}: send Authorization: Bearer, a cookie, or a ticket`,
      )
    if (typeof value !== 'string')
      throw new EverwireError('bad-request', `the parameter ${name.slice(0, 40)} is there twice`)
  }
  return query as Record<string, string>
}

/** What a token of `Authorization: Bearer` may consist of (RFC 6750 §2.1). */
export const tokenCharacters = '[\\w.~+/=-]'

const bearer = new RegExp(`^Bearer +(${tokenCharacters}+) *$`, 'i')

/** The token of `Authorization: Bearer`. */
export const bearerOf = ({ headers: { authorization } }: FastifyRequest): string | undefined =>
  bearer.exec(authorization ?? '')?.[1]

function modeOf(live: string | undefined): ReadMode {
  if (live === undefined) return 'page'
  if (live === 'long-poll') return 'poll'
  if (live === 'sse') return 'draft-stream'
  throw new EverwireError('bad-request', 'live must be long-poll or sse')
}

function lastEventId({ headers }: FastifyRequest): { start: Start; grant: string | undefined } | undefined {
  const id = headers['last-event-id']
  if (id === undefined || id === '') return undefined
  if (typeof id !== 'string' || id.length > maxLastEventId)
    throw new EverwireError('bad-request', 'Last-Event-ID is not one that was handed out here')
  const dot = id.indexOf('.')
  return dot < 0
    ? { start: readStart(id), grant: undefined }
    : { start: readStart(id.slice(0, dot)), grant: id.slice(dot + 1) }
}
