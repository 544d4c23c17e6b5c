import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/** What a server has done since it began. */
export interface Reading {
  requests: number
  /** Both ways, on the wire. */
  bytes: number
  /** Of the whole process. */
  cpuMs: number
}

/** Counts what a server does, for a parent process that asks with `read`. */
export function meter(server: Server): void {
  const open = new Set<Socket>()
  let requests = 0
  let closedBytes = 0
  const bytesOf = ({ bytesRead, bytesWritten }: Socket) => bytesRead + bytesWritten
  server.on('request', () => requests++)
  server.on('upgrade', () => requests++)
  server.on('connection', (socket) => {
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
