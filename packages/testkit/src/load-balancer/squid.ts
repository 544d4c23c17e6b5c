import { chmod, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { freePorts } from '../nats-server/free-ports.js'
import { inFolder } from './folder.js'
import { createProgram, type ProxyProgram } from './program.js'

export interface SquidOptions {
  /** `host:port` of the one server that it stands in front of. @default none: a forward proxy, as in offices */
  target?: string
  /** Ports that CONNECT may go to, as a forward proxy. @default [443], as it comes */
  connectPorts?: readonly number[]
}

export const createSquid = (options: SquidOptions): Promise<ProxyProgram> =>
  inFolder('squid', async (folder, clean) => {
    const [port] = (await freePorts(1)) as [number]
    const configFile = path.join(folder, 'squid.conf')
    await writeFile(configFile, configuration(folder, port, options))
    // It gives up being root, and writes its core there.
    await chmod(folder, 0o777)
    return createProgram({
      name: 'squid',
      env: 'SQUID_PATH',
      // One process, which dies as a whole; what is wrong goes to stderr.
      args: ['-N', '-d', '0', '-f', configFile],
      port,
      clean,
    })
  })

function configuration(folder: string, port: number, { target, connectPorts = [443] }: SquidOptions): string {
  const [host, targetPort] = target?.split(':') ?? []
  const listen =
    target === undefined
      ? [`http_port 127.0.0.1:${port}`]
      : [
          `http_port 127.0.0.1:${port} accel defaultsite=127.0.0.1:${port}`,
          `cache_peer ${host} parent ${targetPort} 0 no-query originserver`,
          'never_direct allow all',
        ]
  return [
    ...listen,
    `acl tunnelled port ${connectPorts.join(' ')}`,
    'acl connect method CONNECT',
    'http_access deny connect !tunnelled',
    'http_access allow all',
    'cache deny all',
    'access_log none',
    'cache_log /dev/null',
    'pid_filename none',
    'pinger_enable off',
    'visible_hostname everwire',
    `coredump_dir ${folder}`,
    'shutdown_lifetime 0 seconds',
    '',
  ].join('\n')
}
