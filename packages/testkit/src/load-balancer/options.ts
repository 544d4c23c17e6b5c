export interface LoadBalancerOptions {
  /** A complete configuration, such as docs/scaling/haproxy.cfg. */
  configFile: string
  /** `host:port` of the servers, as many as the file names and in its order. */
  targets: readonly string[]
  /** Takes the lines into effect that the file marks by `# affinity:`. @default false */
  affinity?: boolean
  /** Changes the configuration further, once the addresses are in. */
  change?: (config: string) => string
}

/** Puts the addresses of a test into a configuration, and nothing else. */
export function adapted(
  config: string,
  { targets, affinity = false, change = (text) => text }: LoadBalancerOptions,
  replacements: readonly (readonly [what: string, pattern: RegExp, by: string])[],
  server: RegExp,
): string {
  let text = affinity ? config.replaceAll(/# affinity: /g, '') : config
  for (const [what, pattern, by] of replacements) {
    if (!pattern.test(text)) throw new Error(`the configuration has no ${what}`)
    text = text.replace(pattern, by)
  }
  const servers = text.match(new RegExp(server, 'gm'))?.length ?? 0
  if (servers !== targets.length)
    throw new Error(`the configuration names ${servers} servers, not ${targets.length}`)
  let index = 0
  return change(
    text.replaceAll(new RegExp(server, 'gm'), (_, before: string) => `${before}${targets[index++]}`),
  )
}
