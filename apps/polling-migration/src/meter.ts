import { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'

/** What a server has done since it began. */
export interface Reading {
  requests: number
  /** Both ways, on the wire. */
  bytes: number
  /** Of the whole process. */
  cpuMs: number
}

/** Counts what a server does, for a parent process that asks with `read`. */
export function meter(app: FastifyInstance): void {
  const open = new Set<Socket>()
  let requests = 0
  let closedBytes = 0
  const bytesOf = ({ bytesRead, bytesWritten }: Socket) => bytesRead + bytesWritten
  // With upgrades; but not what the server asks itself.
  app.addHook('onRequest', async ({ raw }) => {
    if (raw.socket instanceof Socket) requests++
  })
  app.server.on('connection', (socket) => {
    open.add(socket)
    socket.once('close', () => {
      open.delete(socket)
      closedBytes += bytesOf(socket)
    })
  })
  process.on('message', (message) => {
    if (message !== 'read') return
    const { user, system } = process.cpuUsage()
    const bytes = [...open].reduce((sum, socket) => sum + bytesOf(socket), closedBytes)
    process.send?.({ reading: { requests, bytes, cpuMs: (user + system) / 1_000 } satisfies Reading })
  })
}
