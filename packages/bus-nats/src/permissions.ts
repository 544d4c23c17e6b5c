import { createSubjects } from './subjects.js'

/** What a NATS user must be allowed, as nats-server's configuration has it. */
export interface NatsPermissions {
  publish: { allow: string[] }
  subscribe: { allow: string[] }
}

export interface PermissionOptions {
  /** @default 'ew' */
  prefix?: string
  /** @default true */
  manageStreams?: boolean
  /** Names of the history streams; NATS has no wildcard for part of a name. @default all that the account has */
  streams?: readonly string[]
}

/**
 * The least that each kind of program needs. `node`: a server of Everwire. `publisher`: a worker with
 * `createPublisher`; it can read what the nodes agreed on, and no publication. `foreign`: a program that publishes by
 * itself, and can neither read nor speak as a node.
 */
export function natsPermissions({
  prefix = 'ew',
  manageStreams = true,
  streams = [],
}: PermissionOptions = {}): Record<'node' | 'publisher' | 'foreign', NatsPermissions> {
  const subjects = createSubjects(prefix)
  const bucket = `KV_${subjects.bucket}`
  const history = streams.length > 0 ? streams : ['*']
  const named = streams.length > 0 ? [...streams, bucket] : ['*']
  const api = (action: string, of: readonly string[], rest = '') =>
    of.map((stream) => `$JS.API.${action}.${stream}${rest}`)
  return {
    node: {
      publish: {
        allow: [
          `${prefix}.in.>`,
          `${prefix}.out.>`,
          `${prefix}.node.>`,
          `$KV.${subjects.bucket}.>`,
          '$JS.API.INFO',
          ...api('STREAM.INFO', named),
          ...(manageStreams ? api('STREAM.CREATE', named) : []),
          ...api('STREAM.MSG.GET', named),
          ...api('CONSUMER.CREATE', history),
          ...api('CONSUMER.MSG.NEXT', history, '.>'),
          ...api('CONSUMER.DELETE', history, '.>'),
        ],
      },
      subscribe: { allow: [`${prefix}.out.>`, `${prefix}.in.live.>`, `${prefix}.node.>`] },
    },
    publisher: {
      publish: {
        allow: [`${prefix}.in.>`, ...api('STREAM.INFO', named), ...api('STREAM.MSG.GET', [bucket])],
      },
      subscribe: { allow: [`${subjects.inbox('publisher')}.>`] },
    },
    foreign: { publish: { allow: [`${prefix}.in.>`] }, subscribe: { allow: ['_INBOX.>'] } },
  }
}

/** Permissions as a block of nats-server's configuration. */
export const permissionsText = ({ publish, subscribe }: NatsPermissions): string =>
  [
    'permissions {',
    `  publish { allow: ${JSON.stringify(publish.allow)} }`,
    `  subscribe { allow: ${JSON.stringify(subscribe.allow)} }`,
    '}',
  ].join('\n')
