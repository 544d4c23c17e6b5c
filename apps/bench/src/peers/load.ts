import WebSocket from 'ws'
import type { Wire } from './wires/wire.js'

export interface Connection {
  /** Joins the one channel. Resolves once nothing published later is missed. */
  subscribe(): Promise<void>
  publish(payload: string): void
  /** Sends what the server sends back. */
  echo(payload: string): void
  onPublication: (message: Buffer) => void
  onEcho: () => void
}

/** The clients of one server or more, all in this process and on bare ws, so that no candidate's own client counts. */
export interface Load {
  connect(url: string, count: number): Promise<Connection[]>
  /** Rejects when a server ends a connection or refuses something. */
  readonly failed: Promise<never>
  close(): void
}

/** Fewer than a listen queue holds. */
const mostConnecting = 50

export function createLoad(wire: Wire): Load {
  const sockets: WebSocket[] = []
  let closed = false
  let fail: (error: Error) => void = () => {}
  const failed = new Promise<never>((_resolve, reject) => (fail = reject))
  // Whoever races against it hears of it; at another time it is of no interest.
  failed.catch(() => {})

  const connectOne = (url: string) =>
    new Promise<Connection>((resolve) => {
      // No compression for anybody: it would be measured instead.
      const socket = new WebSocket(url + wire.path, { perMessageDeflate: false })
      sockets.push(socket)
      const say = (text: string) => socket.send(text)
      const hear = wire.createHear()
      let subscribed = () => {}
      const connection: Connection = {
        subscribe() {
          say(wire.subscription)
          return new Promise<void>((resolve) => (subscribed = resolve))
        },
        publish: (payload) => say(wire.publication(payload)),
        echo: (payload) => say(wire.echo(payload)),
        onPublication() {},
        onEcho() {},
      }
      socket.on('open', () => wire.greeting !== undefined && say(wire.greeting))
      socket.on('message', (message: Buffer) => {
        try {
          const heard = hear(message, say)
          if (heard === 'publication') connection.onPublication(message)
          else if (heard === 'echo') connection.onEcho()
          else if (heard === 'subscribed') subscribed()
          else if (heard === 'ready') resolve(connection)
        } catch (error) {
          fail(error as Error)
        }
      })
      socket.on('error', fail)
      socket.on('close', (code, reason) => {
        if (!closed) fail(new Error(`the server closed a connection: ${code} ${reason.toString()}`))
      })
    })

  return {
    failed,
    async connect(url, count) {
      const connections: Connection[] = []
      while (connections.length < count) {
        const next = Math.min(mostConnecting, count - connections.length)
        connections.push(...(await Promise.all(Array.from({ length: next }, () => connectOne(url)))))
      }
      return connections
    },
    close() {
      closed = true
      for (const socket of sockets) socket.terminate()
    },
  }
}
