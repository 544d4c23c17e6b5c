import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { forAll, type Path, type Target } from './path.js'

export interface TcpRelay {
  readonly port: number
  readonly url: string
  /** Bytes that went up and down so far. */
  readonly bytes: { up: number; down: number }
  /** Nothing passes, and nothing ends; what was sent comes once it is thawed, as TCP does after an outage. */
  freeze(): void
  thaw(): void
  close(): Promise<void>
}

/** Passes connections on without knowing what they carry. */
export async function startTcpRelay({ host, port }: Target): Promise<TcpRelay> {
  const pairs = new Set<readonly [Socket, Socket]>()
  const bytes = { up: 0, down: 0 }
  let frozen = false

  const server = createServer((client) => {
    const upstream = connect(port, host)
    const pair = [client, upstream] as const
    pairs.add(pair)
    const pass = (from: Socket, to: Socket, direction: 'up' | 'down') => {
      from.setNoDelay(true)
      from.on('data', (chunk: Buffer) => {
        bytes[direction] += chunk.length
        if (!to.write(chunk)) from.pause()
      })
      to.on('drain', () => void (frozen || from.resume()))
      from.on('end', () => to.end())
      from.on('error', () => to.destroy())
      from.on('close', () => {
        to.destroy()
        pairs.delete(pair)
      })
    }
    pass(client, upstream, 'up')
    pass(upstream, client, 'down')
    if (frozen) pair.forEach((socket) => socket.pause())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const each = (act: (socket: Socket) => void) => [...pairs].flat().forEach(act)
  const { port: own } = server.address() as AddressInfo
  return {
    port: own,
    url: `http://127.0.0.1:${own}`,
    bytes,
    freeze() {
      frozen = true
      each((socket) => socket.pause())
    },
    thaw() {
      frozen = false
      each((socket) => socket.resume())
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        each((socket) => socket.destroy())
      }),
  }
}

/** A network that drops everything for a time. */
export async function droppingPath(target: Target, dropMs: number): Promise<Path> {
  const relay = await startTcpRelay(target)
  return {
    ways: forAll(relay.url),
    async disturb() {
      relay.freeze()
      await sleep(dropMs)
      relay.thaw()
    },
    close: () => relay.close(),
  }
}
