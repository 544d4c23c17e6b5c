import { fileURLToPath } from 'node:url'
import { startHaproxy, startNginx } from '@everwire/testkit/load-balancer'
import { forAll, type Path, type Target } from './path.js'

type Change = readonly [what: string | RegExp, by: string]

const documented = (name: string) =>
  fileURLToPath(new URL(`../../../../../docs/scaling/${name}`, import.meta.url))

/** The documented configurations, with the lines changed that make a path a bad one. */
function changed(changes: readonly Change[]) {
  return (config: string) =>
    changes.reduce((text, [what, by]) => {
      const next = text.replace(what, by)
      if (next === text) throw new Error(`the configuration has no ${what}`)
      return next
    }, config)
}

// The documentation has three nodes; here they are one.
const targets = ({ host, port }: Target) => Array.from({ length: 3 }, () => `${host}:${port}`)

export async function nginxPath(target: Target, changes: readonly Change[]): Promise<Path> {
  const nginx = await startNginx({
    configFile: documented('nginx.conf'),
    targets: targets(target),
    change: changed([
      ['location /everwire/', 'location /'],
      // Few enough for what a process may open here.
      ['worker_connections 20000', 'worker_connections 512'],
      ['worker_rlimit_nofile 65536;', ''],
      ...changes,
    ]),
  })
  return { ways: forAll(nginx.url), close: () => nginx.stop() }
}

export async function haproxyPath(target: Target, changes: readonly Change[]): Promise<Path> {
  const haproxy = await startHaproxy({
    configFile: documented('haproxy.cfg'),
    targets: targets(target),
    change: changed(changes),
  })
  return { ways: forAll(haproxy.url), close: () => haproxy.stop() }
}

/** An upgrade reaches the server as a plain request. */
export const noUpgrade: Change = ['Connection $everwire_connection;', 'Connection "";']

/** What many configurations have. `X-Accel-Buffering: no`, which the server sends, makes nginx pass events on all the same. */
export const compressing: readonly Change[] = [
  [
    'gzip off;',
    'gzip on; gzip_types text/event-stream; gzip_min_length 0; gzip_proxied any; gzip_http_version 1.0;',
  ],
  ['proxy_buffering off;', 'proxy_buffering on;'],
]

/** Without that header events wait for the compressor, which waits for more, whether they are asked for by GET or POST. */
export const heldBack: readonly Change[] = [
  ...compressing,
  ['proxy_buffering on;', 'proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;'],
]
