import type { FastifyReply } from 'fastify'

/** What a handler made of a poll, before hooks and serialization: what others can be answered with too. */
export interface Outcome {
  /** What was sent, or thrown. */
  payload: unknown
  thrown: boolean
  /** Where the handler said one. */
  status: number | undefined
  set: [name: string, value: string | string[] | number][]
  removed: string[]
}

/** Watches a handler's use of its reply. */
export interface Recording {
  /** The handler rejected: what is sent next is what it threw. */
  threw(): void
  /** As of the end of the hooks before ours; undefined when it is for this reply only. */
  finish(): Outcome | undefined
}

/** Answers to conditions and ranges of the one request, which others do not have. */
const conditional = [206, 304, 412, 416]

/** Whatever makes of a reply more than a payload with headers. */
const peculiar = ['hijack', 'trailer', 'serializer', 'callNotFound'] as const

/** @param left called when the handler answers by itself, past the framework */
export function record(reply: FastifyReply, left: () => void): Recording {
  const before = reply.getHeaders()
  const statusBefore = reply.statusCode
  let outcome: Outcome | undefined
  let isPeculiar = false
  let thrown = false

  const restores: (() => void)[] = []
  const intercept = (name: 'send' | (typeof peculiar)[number], called: (argument: unknown) => void) => {
    const own = Object.getOwnPropertyDescriptor(reply, name)
    const method = reply[name] as (...all: unknown[]) => unknown
    const value = (...all: unknown[]) => {
      called(all[0])
      return method.apply(reply, all)
    }
    Object.defineProperty(reply, name, { value, configurable: true, writable: true })
    restores.push(() => {
      if (own) Object.defineProperty(reply, name, own)
      else Reflect.deleteProperty(reply, name)
    })
  }
  const restore = () => restores.splice(0).forEach((undo) => undo())

  intercept('send', (payload) => {
    restore()
    const after = reply.getHeaders()
    outcome = {
      payload,
      thrown,
      status: reply.statusCode === statusBefore ? undefined : reply.statusCode,
      set: Object.entries(after).filter(([name, value]) => !isSame(before[name], value)) as Outcome['set'],
      removed: Object.keys(before).filter((name) => after[name] === undefined),
    }
  })
  for (const name of peculiar)
    intercept(name, () => {
      isPeculiar = true
      if (name === 'hijack') left()
    })

  return {
    threw: () => (thrown = true),
    finish() {
      restore()
      const isOwn =
        isPeculiar ||
        conditional.includes(reply.statusCode) ||
        !isSame(before['set-cookie'], reply.getHeader('set-cookie')) ||
        varyOf(reply).includes('*') ||
        isStream(outcome?.payload)
      return isOwn ? undefined : outcome
    },
  }
}

/** Makes of another's reply what the handler would have made of it; the payload is left to send. */
export function imitate(reply: FastifyReply, { status, set, removed }: Outcome): void {
  if (status !== undefined) reply.code(status)
  for (const name of removed) reply.removeHeader(name)
  for (const [name, value] of set) reply.header(name, value)
}

/** Names of the request headers that an answer depends on. */
export const varyOf = (reply: FastifyReply): string[] =>
  String(reply.getHeader('vary') ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')

const isSame = (one: unknown, other: unknown) =>
  one === other || JSON.stringify(one) === JSON.stringify(other)

const isStream = (payload: unknown): boolean =>
  typeof payload === 'object' &&
  payload !== null &&
  ('pipe' in payload || 'getReader' in payload || payload instanceof Response)
