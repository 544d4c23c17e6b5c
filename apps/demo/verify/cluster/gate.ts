import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** A way to a server, through this process, so that it can be cut. */
export interface Gate {
  readonly port: number
  /**
   * `silent`: nothing passes, and nobody is told; what is said meanwhile arrives after `heal`, as with a cable that is
   * pulled and put back. `broken`: connections break, and no new ones come about.
   */
  cut(how: 'silent' | 'broken'): void
  heal(): void
  close(): Promise<void>
}

interface Pair {
  sockets: readonly [Socket, Socket]
  held: (() => void)[]
}

export async function createGate(targetPort: number): Promise<Gate> {
  const pairs = new Set<Pair>()
  let state: 'open' | 'silent' | 'broken' = 'open'

  const server = createServer((socket) => {
    if (state === 'broken') return void socket.resetAndDestroy()
    const upstream = connect(targetPort, '127.0.0.1')
    const pair: Pair = { sockets: [socket, upstream], held: [] }
    pairs.add(pair)
    const pass = (deliver: () => void) => {
      if (state === 'silent') pair.held.push(deliver)
      else deliver()
    }
    for (const [from, to] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      from.setNoDelay(true)
      from.on('error', () => {})
      from.on('data', (chunk: Buffer) => pass(() => void (to.destroyed || to.write(chunk))))
      from.on('close', () =>
        pass(() => {
          to.destroy()
          pairs.delete(pair)
        }),
      )
    }
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })

  const destroyAll = () => {
    for (const { sockets } of pairs) for (const socket of sockets) socket.destroy()
  }

  return {
    port: (server.address() as AddressInfo).port,
    cut(how) {
      state = how
      if (how === 'broken') destroyAll()
    },
    heal() {
      state = 'open'
      for (const { held } of pairs) for (const deliver of held.splice(0)) deliver()
    },
    async close() {
      state = 'open'
      const closed = new Promise((resolve) => server.close(resolve))
      destroyAll()
      await closed
    },
  }
}
