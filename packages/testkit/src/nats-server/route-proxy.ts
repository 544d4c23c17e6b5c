import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { systemClock } from '@everwire/core'

/** The routes of a cluster, through this process, so that tests can delay and cut them. */
export interface Routes {
  /** Destroys what joins two servers, or one with all others, or all, and refuses more until `heal`. */
  cut(one?: string, other?: string): void
  heal(): void
  /** Delays what they say to each other, each way, in milliseconds. */
  delay(delayMs: number): void
  /** Connections between two servers, or of one, or all, that are open now. */
  open(one?: string, other?: string): number
}

interface RouteProxy extends Routes {
  /** Where others must dial to reach the server that listens on `port`. */
  portOf(name: string): number
  close(): Promise<void>
}

interface Target {
  name: string
  port: number
}

interface Joined {
  names: readonly string[]
  destroy(): void
}

// The side that dials says its name in its first words: CONNECT {...}, INFO {"server_id":...,"server_name":"n1",...}.
const dialler = /^INFO .*"server_name":"([^"]+)"/m
const mostGreetingBytes = 65_536

/**
 * A proxy in front of each server's route port. One that is dialled through it learns who dials from the greeting, so
 * that also routes that servers found by gossip can be cut in pairs.
 */
export async function createRouteProxy(targets: readonly Target[]): Promise<RouteProxy> {
  const severed = new Set<string>()
  const joined = new Set<Joined>()
  const sockets = new Set<Socket>()
  let delayMs = 0

  const isCut = (pair: readonly string[]) => severed.has(key(pair))

  const track = (socket: Socket) => {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  }

  const join = (target: Target, socket: Socket) => {
    const upstream = connect(target.port, '127.0.0.1')
    track(socket)
    track(upstream)
    let entry: Joined | undefined
    const destroy = () => {
      socket.destroy()
      upstream.destroy()
      if (entry) joined.delete(entry)
    }
    let greeting = ''
    socket.on('data', (chunk: Buffer) => {
      if (entry) return
      greeting += chunk.toString('latin1')
      const name = dialler.exec(greeting)?.[1]
      if (name === undefined) return void (greeting.length > mostGreetingBytes && destroy())
      entry = { names: [name, target.name], destroy }
      joined.add(entry)
      if (isCut(entry.names)) destroy()
    })
    for (const one of [socket, upstream]) one.on('close', destroy)
    carry(socket, upstream, () => delayMs)
    carry(upstream, socket, () => delayMs)
  }

  const servers = new Map<string, Server>()
  for (const target of targets) {
    const server = createServer((socket) => join(target, socket))
    servers.set(target.name, server)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
  }
  const names = targets.map(({ name }) => name)

  return {
    portOf: (name) => (servers.get(name)!.address() as AddressInfo).port,
    cut(one, other) {
      for (const a of names)
        for (const b of names) if (a !== b && concerns([a, b], one, other)) severed.add(key([a, b]))
      for (const entry of [...joined]) if (isCut(entry.names)) entry.destroy()
    },
    heal: () => severed.clear(),
    delay(ms) {
      delayMs = ms
    },
    open: (one, other) => [...joined].filter((entry) => concerns(entry.names, one, other)).length,
    async close() {
      for (const socket of sockets) socket.destroy()
      await Promise.all(
        [...servers.values()].map((server) => new Promise((resolve) => server.close(resolve))),
      )
    },
  }
}

const key = (pair: readonly string[]) => [...pair].sort().join()

const concerns = (pair: readonly string[], ...wanted: (string | undefined)[]) =>
  wanted.every((name) => name === undefined || pair.includes(name))

/** Carries bytes one way, each piece after the delay of its moment, and never out of order. */
function carry(from: Socket, to: Socket, delayMs: () => number): void {
  const waiting: { chunk: Buffer; due: number }[] = []
  const next = () => {
    for (;;) {
      const first = waiting[0]
      if (!first) return
      const wait = first.due - systemClock.now()
      if (wait > 0) return void systemClock.after(wait, next)
      waiting.shift()
      if (!to.destroyed) to.write(first.chunk)
    }
  }
  from.on('data', (chunk: Buffer) => {
    const ms = delayMs()
    if (ms === 0 && waiting.length === 0) {
      if (!to.destroyed) to.write(chunk)
      return
    }
    waiting.push({ chunk, due: systemClock.now() + ms })
    if (waiting.length === 1) next()
  })
}
