import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import path from 'node:path'
import { freePorts } from '../nats-server/free-ports.js'
import { inFolder } from './folder.js'
import { adapted, type LoadBalancerOptions } from './options.js'
import { createProgram, type ProxyProgram } from './program.js'

/** What HAProxy thinks of a server. */
export interface ServerState {
  backend: string
  name: string
  up: boolean
  /** Requests and upgrades that it got so far. */
  requests: number
}

export interface Haproxy extends ProxyProgram {
  /** The servers of all backends, in the order of the configuration. */
  servers(): Promise<ServerState[]>
  /** Writes the configuration anew with another change; it holds from the next start on. */
  reconfigure(change: (config: string) => string): Promise<void>
}

export const createHaproxy = (options: LoadBalancerOptions): Promise<Haproxy> =>
  inFolder('haproxy', (folder, clean) => createHaproxyIn(folder, clean, options))

async function createHaproxyIn(
  folder: string,
  clean: () => Promise<void>,
  options: LoadBalancerOptions,
): Promise<Haproxy> {
  const [port] = (await freePorts(1)) as [number]
  const configFile = path.join(folder, 'haproxy.cfg')
  const socket = path.join(folder, 'admin.sock')
  const write = async (change: LoadBalancerOptions['change']) =>
    await writeFile(
      configFile,
      adapted(
        await readFile(options.configFile, 'utf8'),
        { ...options, ...(change ? { change } : {}) },
        [
          ['stats socket', /^(\s*stats socket) \S+/m, `$1 ${socket}`],
          ['bind', /^(\s*bind) :\d+/m, `$1 127.0.0.1:${port}`],
        ],
        /^(\s*server \S+ )\S+/,
      ),
    )
  await write(options.change)
  const program = createProgram({
    name: 'haproxy',
    env: 'HAPROXY_PATH',
    args: ['-db', '-f', configFile],
    port,
    ready: () =>
      command(socket, 'show stat').then(
        () => true,
        () => false,
      ),
    clean,
  })
  return Object.assign(program, {
    servers: async () => readServers(await command(socket, 'show stat')),
    reconfigure: write,
  })
}

/** Says something to the admin socket; resolves with the answer. */
const command = (socketPath: string, text: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(socketPath)
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
    socket.once('error', reject)
    socket.once('end', () => resolve(answer))
    socket.once('connect', () => socket.write(`${text}\n`))
  })

function readServers(csv: string): ServerState[] {
  const [head = '', ...rows] = csv.replace(/^# /, '').trim().split('\n')
  const names = head.split(',')
  return rows
    .map((row) => Object.fromEntries(row.split(',').map((value, i) => [names[i], value])))
    .filter(({ svname }) => svname !== 'FRONTEND' && svname !== 'BACKEND')
    .map(({ pxname = '', svname = '', status = '', stot }) => ({
      backend: pxname,
      name: svname,
      up: status.startsWith('UP'),
      requests: Number(stot),
    }))
}
