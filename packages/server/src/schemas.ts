import { isDeepStrictEqual } from 'node:util'
import {
  decodeData,
  encodeData,
  EverwireError,
  type Clock,
  type Contract,
  type MethodSchemas,
  type Payload,
  type SchemaIssue,
  type StandardSchema,
} from '@everwire/core'
import { isTooDeep } from './nesting.js'
import { isPromise, within } from './time-limit.js'

/** A payload that its schema has let pass. */
export interface CheckedPayload {
  /** Parsed JSON, or bytes, as the schema made it. */
  value: unknown
  /** The same as it travels. */
  data: Payload | undefined
  binary: boolean | undefined
}

export interface SchemasOptions {
  frameBytes: number
  clock: Clock
  /** How long an asynchronous schema may take. */
  timeoutMs: number
}

type Side = 'methods' | 'clientMethods'

const maxIssues = 3
const maxMessageLength = 300
/** Room for the header of a frame beside its payload. */
const headerBytes = 1_024
/** What listeners of a client hear under these names is no publication. */
const reservedEvents: readonly string[] = ['gap', 'unsubscribed', '*']

/** What the contract says of payloads. Without one, and where it says nothing, everything passes as it is. */
export class Schemas {
  readonly #exact = new Map<string, ReadonlyMap<string, StandardSchema>>()
  /** The longest first. */
  readonly #prefixes: { prefix: string; events: ReadonlyMap<string, StandardSchema> }[] = []
  readonly #methods: Record<Side, ReadonlyMap<string, MethodSchemas>>
  readonly #payloadBytes: number
  readonly #clock: Clock
  readonly #timeoutMs: number

  /** @throws TypeError when the contract is wrong, naming where */
  constructor(
    { channels = {}, methods = {}, clientMethods = {} }: Contract,
    { frameBytes, clock, timeoutMs }: SchemasOptions,
  ) {
    this.#payloadBytes = frameBytes - headerBytes
    this.#clock = clock
    this.#timeoutMs = timeoutMs
    for (const [pattern, schemas] of Object.entries(channels)) {
      if (pattern.slice(0, -1).includes('*'))
        throw new TypeError(`contract: ${pattern}: a * may stand at the end only, as in chat:*`)
      const events = new Map(Object.entries(schemas))
      for (const [event, schema] of events) {
        if (reservedEvents.includes(event))
          throw new TypeError(`contract: ${pattern}: ${event} is no event's name`)
        assertSchema(schema, `${pattern} ${event}`)
      }
      if (pattern.endsWith('*')) this.#prefixes.push({ prefix: pattern.slice(0, -1), events })
      else this.#exact.set(pattern, events)
    }
    this.#prefixes.sort((a, b) => b.prefix.length - a.prefix.length)
    this.#methods = {
      methods: new Map(Object.entries(methods)),
      clientMethods: new Map(Object.entries(clientMethods)),
    }
    for (const [name, { input, output }] of Object.values(this.#methods).flatMap((all) => [...all]))
      for (const schema of [input, output]) if (schema !== undefined) assertSchema(schema, name)
  }

  /** Whether the contract says anything of a channel, by its name on the wire. */
  knows(channel: string): boolean {
    return this.#eventsOf(channel) !== undefined
  }

  /**
   * The data of a publication as its schema makes it: at once, unless that is asynchronous.
   * @throws EverwireError `bad-payload`, also for an event that the channel does not have; `timeout`
   */
  publication(channel: string, event: string, value: unknown): unknown {
    const events = this.#eventsOf(channel)
    if (!events) return value
    const schema = events.get(event)
    if (!schema) throw new EverwireError('bad-payload', `${channel} has no event ${JSON.stringify(event)}`)
    return this.#validate(schema, value, `${event} in ${channel}`)
  }

  /** A payload that came from outside. What the schema leaves as it was travels on as the bytes that it came in. */
  async payload(
    channel: string,
    event: string,
    { data, binary }: { data?: Payload | undefined; binary?: boolean | undefined },
  ): Promise<CheckedPayload> {
    const given = decodeData({ data, binary })
    if (!this.knows(channel)) return { value: given, data, binary }
    const value = await this.publication(channel, event, given)
    // Parsed anew: a schema may change in place what it was given.
    if (isSame(value, decodeData({ data, binary }), `${event} in ${channel}`)) return { value, data, binary }
    const made = encodeData(value)
    const bytes = made.data === undefined ? 0 : Buffer.byteLength(made.data)
    if (bytes > this.#payloadBytes)
      throw new EverwireError('bad-payload', `${event} in ${channel}: ${bytes} bytes are too many`)
    return { value, data: made.data, binary: made.binary }
  }

  /** What a method is asked, as its schema makes it. @throws EverwireError `bad-payload`, `timeout` */
  input(name: string, value: unknown, side: Side = 'methods'): unknown {
    const schema = this.#methods[side].get(name)?.input
    return schema ? this.#validate(schema, value, `the input of ${name}`) : value
  }

  /** What a method answers, as its schema makes it. @throws EverwireError `bad-payload`, `timeout` */
  output(name: string, value: unknown, side: Side = 'methods'): unknown {
    const schema = this.#methods[side].get(name)?.output
    return schema ? this.#validate(schema, value, `the output of ${name}`) : value
  }

  #validate(schema: StandardSchema, value: unknown, what: string): unknown {
    const read = (result: Awaited<ReturnType<StandardSchema['~standard']['validate']>>) => {
      if (result.issues) throw new EverwireError('bad-payload', reasonOf(what, result.issues))
      return result.value
    }
    const fail = (error: unknown): never => {
      throw blame(error, value, what)
    }
    const late = () =>
      new EverwireError('timeout', `the schema of ${what} took longer than ${this.#timeoutMs} ms`)
    try {
      const result = schema['~standard'].validate(value)
      return isPromise(result)
        ? within(this.#clock, this.#timeoutMs, result, late).then(read).catch(fail)
        : read(result)
    } catch (error) {
      return fail(error)
    }
  }

  #eventsOf(channel: string): ReadonlyMap<string, StandardSchema> | undefined {
    return this.#exact.get(channel) ?? this.#prefixes.find(({ prefix }) => channel.startsWith(prefix))?.events
  }
}

/** @throws EverwireError `bad-payload` */
function isSame(made: unknown, given: unknown, what: string): boolean {
  try {
    return isDeepStrictEqual(made, given)
  } catch (error) {
    throw blame(error, given, what)
  }
}

/** A stack that overflows is the sender's fault where what it sent is nested for that, else the application's. */
function blame(error: unknown, value: unknown, what: string): unknown {
  return error instanceof RangeError && isTooDeep(value)
    ? new EverwireError('bad-payload', `${what} is nested too deeply`, { cause: error })
    : error
}

function reasonOf(what: string, issues: readonly SchemaIssue[]): string {
  const parts = issues.slice(0, maxIssues).map(({ message, path = [] }) => {
    const place = path.map((part) => String(typeof part === 'object' ? part.key : part)).join('.')
    return place === '' ? message : `${place}: ${message}`
  })
  return `${what}: ${parts.join('; ')}`.slice(0, maxMessageLength)
}

function assertSchema(schema: unknown, where: string): void {
  const standard = (schema as Partial<StandardSchema> | null | undefined)?.['~standard']
  if (standard?.version !== 1 || typeof standard.validate !== 'function')
    throw new TypeError(`contract: ${where} is no Standard Schema; for a type without checks: type<...>()`)
}
