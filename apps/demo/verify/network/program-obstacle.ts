import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

/** Why a real program cannot be run here, if it cannot. */
export function programObstacle(name: string, env: string): string | undefined {
  // Debian keeps servers in sbin, which is not on every user's PATH.
  const inSbin = `/usr/sbin/${name}`
  const { error } = spawnSync(process.env[env] || (existsSync(inSbin) ? inSbin : name), ['-v'])
  return error ? `there is no ${name}: install it, or say where it is by ${env}` : undefined
}
