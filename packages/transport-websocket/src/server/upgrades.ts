import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'

type UpgradeListener = (request: IncomingMessage, socket: Socket, head: Buffer) => void

/**
 * Hands on what @fastify/websocket hears of, in place of the whole server, all of whose upgrades it would answer: those
 * below the prefix of `scope`, and the others where nobody else listens.
 */
export function handOnUpgrades(scope: FastifyInstance, upgrades: EventEmitter): void {
  const { server } = scope
  const isOwn = isBelow(scope.prefix)
  const endings = createEndings(scope)
  const onUpgrade: UpgradeListener = (request, socket, head) => {
    if (!isOwn(request) && server.listenerCount('upgrade') > 1) return
    // While the server closes @fastify/websocket does not listen any more.
    if (upgrades.listenerCount('upgrade') === 0) return refuse(socket)
    endings.expect(socket)
    upgrades.emit('upgrade', request, socket, head)
    endings.check(socket)
  }
  server.on('upgrade', onUpgrade)
  scope.addHook('onClose', async () => void server.off('upgrade', onUpgrade))
}

/** Minds the upgrades below the prefix of `scope` where the application has registered @fastify/websocket. */
export function mindUpgrades(scope: FastifyInstance): void {
  const { server } = scope
  const isOwn = isBelow(scope.prefix)
  const endings = createEndings(scope)
  const onUpgrade: UpgradeListener = (request, socket) => {
    if (server.listenerCount('upgrade') === 1) return refuse(socket)
    if (!isOwn(request)) return
    endings.expect(socket)
    process.nextTick(endings.check, socket)
  }
  server.prependListener('upgrade', onUpgrade)
  scope.addHook('onClose', async () => void server.off('upgrade', onUpgrade))
}

/**
 * Ends the sockets whose upgrade Fastify answers with something else than a WebSocket: node:http has left them to its
 * listeners, and @fastify/websocket ends only those where an `onResponse` hook of its scope runs. None does while
 * Fastify closes, which such a socket would then hold up for ever.
 */
function createEndings(scope: FastifyInstance) {
  const waiting = new Map<Socket, { bytesBefore: number; forget: () => void }>()
  const expect = (socket: Socket) => {
    // As node:http does: who hangs up is not waited for.
    const hangUp = () => socket.end()
    const forget = () => {
      waiting.delete(socket)
      socket.off('end', hangUp).off('close', forget)
    }
    socket.on('end', hangUp).on('close', forget)
    waiting.set(socket, { bytesBefore: socket.bytesWritten, forget })
  }
  const check = (socket: Socket) => {
    const { bytesBefore = Infinity } = waiting.get(socket) ?? {}
    if (socket.bytesWritten > bytesBefore) socket.destroySoon()
  }
  scope.websocketServer.on('connection', (_socket, { socket }) => waiting.get(socket)?.forget())
  scope.addHook('preClose', async () => [...waiting.keys()].forEach(check))
  return { expect, check }
}

function refuse(socket: Socket): void {
  socket.on('error', () => socket.destroy())
  socket.end('HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
  socket.destroySoon()
}

/** Whether a request is for a path below a prefix, part by part; parts with parameters may be anything. */
function isBelow(prefix: string) {
  const wanted = prefix.toLowerCase().split('/')
  return ({ url = '' }: IncomingMessage): boolean => {
    const parts = url.toLowerCase().split(/[/?]/)
    return wanted.every((part, at) => (part.includes(':') ? parts[at] : parts[at] === part))
  }
}
