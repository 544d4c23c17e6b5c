import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { freePorts } from './nats-server/free-ports.js'
import { poll } from './poll.js'
import { createRouteProxy, type Routes } from './nats-server/route-proxy.js'
import { PortTaken } from './child-program.js'
import { createServerProcess, type ServerProcess } from './nats-server/server-process.js'

export type { Routes } from './nats-server/route-proxy.js'
export type { ServerProcess as NatsServer } from './nats-server/server-process.js'

export interface NatsOptions {
  /** @default 1 */
  servers?: 1 | 3
  /** What is added to each server's configuration, such as an `authorization` block; given the server's name. */
  config?: string | ((name: string) => string)
  /** Where JetStream writes, a folder per server in it; is left there. @default a new folder, removed at the end */
  storeDir?: string
  /** Most that JetStream writes, per server. @default 1 GiB */
  maxFileBytes?: number
  /** Most that JetStream keeps in memory, per server. @default 256 MiB */
  maxMemBytes?: number
  /** Routes of a cluster go through this process, so that tests can cut and delay them. @default false */
  proxyRoutes?: boolean
}

/** One or three nats-servers on loopback, each a process of its own. */
export interface Nats {
  readonly servers: readonly ServerProcess[]
  /** Client addresses of all servers. */
  readonly urls: readonly string[]
  /** Client address of the first. */
  readonly url: string
  /** With `proxyRoutes` only. */
  readonly routes: Routes | undefined
  /** Resolves once all that run are joined by their routes and JetStream has a leader. */
  ready(): Promise<void>
  /** The server that leads a stream, or all of JetStream; waits while there is none. */
  leader(stream?: string): Promise<ServerProcess>
  /** Ends all, and removes what they wrote. Safe to call twice. */
  stop(): Promise<void>
}

const mostAttempts = 5

/**
 * Starts real servers with JetStream on file storage, once they can be used. The program is NATS_SERVER_PATH, else
 * `nats-server` of the PATH. Rejects with what a server wrote when it does not start.
 */
export async function startNats(options: NatsOptions = {}): Promise<Nats> {
  for (let attempt = 1; ; attempt++)
    try {
      return await tryToStart(options)
    } catch (error) {
      if (!(error instanceof PortTaken) || attempt === mostAttempts) throw error
    }
}

async function tryToStart(options: NatsOptions): Promise<Nats> {
  const { servers: count = 1, proxyRoutes = false } = options
  const folder = await mkdtemp(path.join(tmpdir(), 'everwire-nats-'))
  const storeDir = options.storeDir ?? folder
  const ports = await freePorts(count * 3)
  const names = Array.from({ length: count }, (_, i) => `n${i + 1}`)
  const members = names.map((name, i) => ({
    name,
    port: ports[i * 3]!,
    monitorPort: ports[i * 3 + 1]!,
    routePort: ports[i * 3 + 2]!,
    storeDir: path.join(storeDir, name),
    configFile: path.join(folder, `${name}.conf`),
  }))
  const proxy =
    proxyRoutes && count > 1
      ? await createRouteProxy(members.map(({ name, routePort }) => ({ name, port: routePort })))
      : undefined
  const servers = members.map(createServerProcess)

  const dial = (member: Member) => `127.0.0.1:${proxy?.portOf(member.name) ?? member.routePort}`
  const routesOf = (member: Member) =>
    members.filter((other) => other !== member).map((other) => `nats://${dial(other)}`)

  const clusterOf = (member: Member) => `cluster {
  name: everwire
  listen: "127.0.0.1:${member.routePort}"
  advertise: "${dial(member)}"
  no_advertise: true
  routes: ${JSON.stringify(routesOf(member))}
}`

  const ready = async () => {
    const live = servers.filter(({ running }) => running)
    for (const server of live)
      await poll(
        () => isReady(server, live),
        () => `${server.name} joined. It wrote:\n${server.log().join('\n')}`,
      )
  }

  let stopped: Promise<void> | undefined
  const stop = () =>
    (stopped ??= (async () => {
      await Promise.all(servers.map((server) => server.kill()))
      await proxy?.close()
      await rm(folder, { recursive: true, force: true })
    })())

  try {
    for (const member of members) {
      await mkdir(member.storeDir, { recursive: true })
      await writeFile(member.configFile, configOf(member, options, count > 1 ? clusterOf(member) : ''))
    }
    await Promise.all(servers.map((server) => server.start()))
    await ready()
  } catch (error) {
    await stop()
    throw error
  }

  return {
    servers,
    urls: servers.map(({ url }) => url),
    url: servers[0]!.url,
    routes: proxy,
    ready,
    leader: (stream) =>
      poll(
        async () => {
          const leaders = await Promise.all(servers.map((server) => leaderAt(server, stream)))
          return servers.find(({ name }, i) => leaders[i] === name)
        },
        () => `a leader of ${stream ?? 'JetStream'}`,
      ),
    stop,
  }
}

interface Member {
  name: string
  port: number
  monitorPort: number
  routePort: number
  storeDir: string
}

function configOf(
  { name, port, monitorPort, storeDir }: Member,
  { config = '', maxFileBytes = 1_073_741_824, maxMemBytes = 268_435_456 }: NatsOptions,
  cluster: string,
): string {
  return `server_name: ${name}
listen: "127.0.0.1:${port}"
http: "127.0.0.1:${monitorPort}"
jetstream {
  store_dir: ${JSON.stringify(storeDir)}
  max_mem: ${maxMemBytes}
  max_file: ${maxFileBytes}
}
${cluster}
${typeof config === 'string' ? config : config(name)}
`
}

/** What is read of the monitoring page /jsz. */
interface JetStreamPage {
  meta_cluster?: {
    leader?: string
    cluster_size?: number
    replicas?: { current?: boolean; offline?: boolean }[]
  }
  account_details?: { stream_detail?: { name: string; cluster?: { leader?: string } }[] }[]
}

async function isReady(server: ServerProcess, live: readonly ServerProcess[]): Promise<boolean> {
  const health = (await server.monitor('/healthz')) as { status?: string } | undefined
  if (health?.status !== 'ok') return false
  if (live.length === 1) return true
  const routes = (await server.monitor('/routez')) as { routes?: { remote_id: string }[] } | undefined
  if (new Set(routes?.routes?.map((route) => route.remote_id)).size < live.length - 1) return false
  const { meta_cluster: meta = {} } = ((await server.monitor('/jsz')) ?? {}) as JetStreamPage
  if (!live.some(({ name }) => name === meta.leader)) return false
  // Only the leader knows how far the others are.
  return (
    meta.leader !== server.name ||
    (meta.replicas ?? []).filter(({ current, offline }) => current && !offline).length >= live.length - 1
  )
}

async function leaderAt(server: ServerProcess, stream: string | undefined): Promise<string | undefined> {
  if (!server.running) return undefined
  const page = (await server.monitor('/jsz?accounts=1&streams=1')) as JetStreamPage | undefined
  if (stream === undefined) return page?.meta_cluster?.leader
  const found = page?.account_details
    ?.flatMap(({ stream_detail: streams = [] }) => streams)
    .find(({ name }) => name === stream)
  // A server on its own says nothing of a cluster.
  return found && (found.cluster?.leader ?? (page?.meta_cluster ? undefined : server.name))
}
