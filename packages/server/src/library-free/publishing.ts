import { assertChannelName, EverwireError, ownChannel, type Payload, type Position } from '@everwire/core'
import type { FastifyRequest } from 'fastify'
import type { ChannelAccess } from './access.js'
import { pathName, readQuery } from './request.js'
import { assertMayPublish } from '../channels/rules.js'
import { userChannel, type Hub } from '../channels/hub.js'
import { assertPublicationNames } from '../channels/publication.js'
import type { CheckedPayload, Schemas } from '../schemas.js'
import { Visitor } from './visitor.js'

export const binaryType = 'application/octet-stream'

/** What a request asks to publish. */
interface PublishRequest {
  event: string
  id: string | undefined
  data: Payload | undefined
  binary: boolean | undefined
}

/** Publishing without a library. */
export class ChannelPublishing {
  readonly #hub: Hub
  readonly #access: ChannelAccess
  readonly #schemas: Schemas

  constructor(hub: Hub, access: ChannelAccess, schemas: Schemas) {
    this.#schemas = schemas
    this.#hub = hub
    this.#access = access
  }

  /** To the channel in the path: as a client, which the channel's rule is asked about, or as the server. */
  async toChannel(request: FastifyRequest): Promise<Position | undefined> {
    const asked = publishRequest(request)
    const channel = pathName(request)
    assertChannelName(channel)
    if (this.#access.isServer(request)) {
      const key = this.#hub.resolve(serverItself, channel)
      return await this.#store(key, await this.#checked(channel, asked))
    }
    const visitor = new Visitor(await this.#access.authenticate(request))
    const key = this.#hub.resolve(visitor, channel)
    const rule = this.#hub.rule(key)
    const { event } = asked
    // Nobody may: its schema need not be asked.
    if (!rule.publish) await assertMayPublish(rule, visitor, channel, { event, data: undefined })
    const checked = await this.#checked(channel, asked)
    await assertMayPublish(rule, visitor, channel, { event, data: checked.value })
    visitor.assertStays()
    return await this.#store(key, checked, visitor.userId, rule.showPublisher ? visitor.userId : null)
  }

  /** To the channel `@me` of the user in the path; as the server only. */
  async toUser(request: FastifyRequest): Promise<Position | undefined> {
    const asked = publishRequest(request)
    if (!this.#access.isServer(request))
      throw new EverwireError('unauthorized', 'only a key of the server publishes to a user')
    const userId = pathName(request)
    if (userId === '' || encodeURIComponent(userId).length > 190)
      throw new EverwireError('bad-request', 'a user id has 1 to 190 characters, percent-encoded')
    return await this.#store(userChannel(userId), await this.#checked(ownChannel, asked))
  }

  async #checked(channel: string, asked: PublishRequest): Promise<PublishRequest & CheckedPayload> {
    return { ...asked, ...(await this.#schemas.payload(channel, asked.event, asked)) }
  }

  async #store(
    key: string,
    { event, id, data, binary }: PublishRequest,
    publisher?: string | null,
    shown: string | null = null,
  ): Promise<Position | undefined> {
    const message = { event, data, binary, userId: shown ?? undefined }
    return await this.#hub.publish(key, message, id === undefined ? undefined : { userId: publisher, id })
  }
}

/** It is no user, and has no channel of its own. */
const serverItself = { userId: null }

function publishRequest(request: FastifyRequest): PublishRequest {
  const { 'content-type': type, 'idempotency-key': id } = request.headers
  // A form can send a request without one to another origin; and without a body none may be looked for.
  if (type === undefined)
    throw new EverwireError('content-type-refused', `send content-type: application/json or ${binaryType}`)
  const { event = 'message' } = readQuery(request)
  if (id !== undefined && (typeof id !== 'string' || id === ''))
    throw new EverwireError('bad-request', 'Idempotency-Key must be there once')
  assertPublicationNames(event, id)
  const body = (request.body ?? new Uint8Array()) as Uint8Array
  const binary = type.toLowerCase().startsWith(binaryType) || undefined
  const data = body.length === 0 && !binary ? undefined : body
  return { event, id, data, binary }
}
