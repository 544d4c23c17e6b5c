import { createRequire } from 'node:module'
import { cpus } from 'node:os'

const require = createRequire(import.meta.url)

const versionOf = (name: string) =>
  `${name} ${(require(`${name}/package.json`) as { version: string }).version}`

/** What ran it, in one line. */
export function describeMachine(programs: readonly string[]): string {
  const all = cpus()
  const software = [`Node ${process.versions.node}`, ...['ws', 'socket.io'].map(versionOf), ...programs]
  return `${all.length} cores (${all[0]?.model.trim() ?? 'unknown'}), ${software.join(', ')}`
}
