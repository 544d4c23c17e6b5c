import { execFile } from 'node:child_process'
import { existsSync, readdirSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { findProgram, type ProgramPlace } from '../child-program.js'

const call = promisify(execFile)

/** A folder per version. */
const debian = '/usr/lib/postgresql'

/** Where the server is: POSTGRES_PATH, else the newest of Debian's, else `postgres` of the PATH. */
export const postgresPlace = (): ProgramPlace => ({
  name: 'postgres',
  env: 'POSTGRES_PATH',
  folders: (existsSync(debian) ? readdirSync(debian) : [])
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => path.join(debian, version, 'bin')),
})

/** The program that makes a new database, of the same version as the server. */
export function initdbPath(): string {
  const server = findProgram(postgresPlace())
  if (!path.isAbsolute(server)) return 'initdb'
  return path.join(path.dirname(existsSync(server) ? realpathSync(server) : server), 'initdb')
}

/** As whom PostgreSQL runs, which refuses root: undefined for the user of this process. */
export async function postgresUser(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const numbers = (name: string) =>
    Promise.all(['-u', '-g'].map(async (flag) => Number((await call('id', [flag, name])).stdout)))
  const [uid, gid] = await numbers('postgres').catch(() => numbers('nobody'))
  return { uid: uid!, gid: gid! }
}
