import { parseArgs } from 'node:util'

export interface DemoSettings {
  port: number
  host: string
  /** Addresses of NATS servers; missing for the in-process bus. */
  natsUrl?: string
  /** Server processes; 1 is the demo's own. */
  nodes: number
}

/** An error whose message says all: shown without a stack. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

const mostNodes = 9

const options = {
  port: { type: 'string' },
  host: { type: 'string' },
  nodes: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const
const known = Object.keys(options)
  .map((name) => `--${name}`)
  .join(', ')

export const usage = `Options: ${known}. The same by the environment: PORT (default 3000; 0 takes any free one), HOST (default 127.0.0.1). NATS_URL, such as nats://127.0.0.1:4222, puts the channels on NATS. --nodes (default 1, at most ${mostNodes}) starts so many server processes, with a nats-server of their own if NATS_URL names none.`

/**
 * Address and bus from options, else from the environment, else the default; undefined when help is asked for.
 * @throws UsageError one clear line
 */
export function readOptions(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): DemoSettings | undefined {
  const { values, tokens } = parseArgs({ args: [...args], strict: false, tokens: true, options })
  for (const token of tokens) {
    if (token.kind === 'positional')
      throw new UsageError(`Unexpected argument "${token.value}". Known options: ${known}.`)
    if (token.kind === 'option' && !Object.hasOwn(options, token.name))
      throw new UsageError(`Unknown option ${token.rawName}. Known options: ${known}.`)
  }
  if (values.help === true) return undefined
  const port = values.port ?? (env.PORT || '3000')
  const host = values.host ?? (env.HOST || '127.0.0.1')
  if (typeof port !== 'string' || !/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    throw new UsageError(`The port must be a whole number from 0 to 65535, not "${port}" (--port, or PORT).`)
  if (typeof host !== 'string' || host === '')
    throw new UsageError('--host needs a value, such as 127.0.0.1.')
  const nodes = values.nodes ?? '1'
  if (typeof nodes !== 'string' || !/^\d$/.test(nodes) || Number(nodes) < 1)
    throw new UsageError(`--nodes must be a whole number from 1 to ${mostNodes}, not "${nodes}".`)
  const natsUrl = env.NATS_URL
  if (natsUrl && !natsUrl.split(',').every((url) => /^(nats|tls):\/\/[^\s/]+\/?$/.test(url)))
    throw new UsageError(
      `NATS_URL must be addresses such as nats://127.0.0.1:4222, joined by commas, not "${natsUrl}".`,
    )
  return { port: Number(port), host, nodes: Number(nodes), ...(natsUrl ? { natsUrl } : {}) }
}
