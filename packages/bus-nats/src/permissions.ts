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
 * `createPublisher`. `foreign`: a program that publishes by itself, and can neither read nor speak as a node.
 */
export function natsPermissions({
  prefix = 'ew',
  manageStreams = true,
  streams: history = [],
}: PermissionOptions = {}): Record<'node' | 'publisher' | 'foreign', NatsPermissions> {
  const { bucket } = createSubjects(prefix)
  const kv = `KV_${bucket}`
  const streams = history.length > 0 ? [...history, kv] : ['*']
  const api = (...names: string[]) => names.map((name) => `$JS.API.${name}`)
  const read = [
    '$JS.API.INFO',
    ...streams.flatMap((stream) =>
      api(
        `STREAM.INFO.${stream}`,
        `STREAM.MSG.GET.${stream}`,
        `DIRECT.GET.${stream}`,
        `DIRECT.GET.${stream}.>`,
        `CONSUMER.CREATE.${stream}`,
        `CONSUMER.CREATE.${stream}.>`,
        `CONSUMER.DELETE.${stream}.>`,
        `CONSUMER.MSG.NEXT.${stream}.>`,
      ),
    ),
  ]
  const manage = manageStreams
    ? streams.flatMap((stream) => api(`STREAM.CREATE.${stream}`, `STREAM.UPDATE.${stream}`))
    : []
  const inbox = ['_INBOX.>']
  return {
    node: {
      publish: {
        allow: [
          `${prefix}.in.>`,
          `${prefix}.out.>`,
          `${prefix}.node.>`,
          `$KV.${bucket}.>`,
          ...inbox,
          ...read,
          ...manage,
        ],
      },
      subscribe: { allow: [`${prefix}.out.>`, `${prefix}.in.live.>`, `${prefix}.node.>`, ...inbox] },
    },
    publisher: {
      publish: { allow: [`${prefix}.in.>`, ...read] },
      subscribe: { allow: inbox },
    },
    foreign: { publish: { allow: [`${prefix}.in.>`] }, subscribe: { allow: inbox } },
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
