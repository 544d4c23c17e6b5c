import { connect } from 'node:net'
import { until } from './until.js'

/** A WebSocket client that sends whatever it is told (RFC 6455). */
export interface RawWebSocket {
  readonly messages: string[]
  sendText(payload: string | Buffer): void
  ended(): Promise<{ code: number; reason: string }>
}

const mask = Buffer.from([1, 2, 3, 4])

/** Rejects with the status when the upgrade is refused. */
export async function openRawWebSocket(
  port: number,
  path: string,
  headers: Record<string, string> = {},
): Promise<RawWebSocket> {
  const socket = connect(port, '127.0.0.1')
  let buffer: Buffer<ArrayBufferLike> = Buffer.alloc(0)
  let open = false
  let over = false
  let close = { code: 1006, reason: '' }
  const messages: string[] = []

  const send = (opcode: number, payload: Buffer) => {
    const { length } = payload
    const head = Buffer.alloc(length < 126 ? 2 : 4)
    head[0] = 0x80 | opcode
    head[1] = 0x80 | (length < 126 ? length : 126)
    if (length >= 126) head.writeUInt16BE(length, 2)
    socket.write(Buffer.concat([head, mask, payload.map((byte, i) => byte ^ mask[i % 4]!)]))
  }
  const read = () => {
    while (buffer.length >= 2) {
      const short = buffer[1]! & 0x7f
      const start = short < 126 ? 2 : short === 126 ? 4 : 10
      if (buffer.length < start) return
      const length =
        short < 126 ? short : short === 126 ? buffer.readUInt16BE(2) : Number(buffer.readBigUInt64BE(2))
      if (buffer.length < start + length) return
      const payload = buffer.subarray(start, start + length)
      const opcode = buffer[0]! & 0x0f
      buffer = buffer.subarray(start + length)
      if (opcode === 8) {
        close = { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() }
        send(8, payload)
        socket.end()
      } else if (opcode < 8) messages.push(payload.toString())
    }
  }
  socket.on('data', (chunk) => {
    buffer = Buffer.concat([buffer, chunk])
    const end = buffer.indexOf('\r\n\r\n')
    if (!open && end >= 0) {
      open = buffer.subarray(0, 12).toString() === 'HTTP/1.1 101'
      if (open) buffer = buffer.subarray(end + 4)
      else over = true
    }
    if (open) read()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    over = true
  })
  const lines = Object.entries({
    host: `127.0.0.1:${port}`,
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
  await until(() => open || over, 'the answer to the upgrade')
  if (!open) {
    socket.destroy()
    throw new Error(buffer.subarray(0, 12).toString())
  }
  return {
    messages,
    sendText: (payload) => send(1, Buffer.from(payload)),
    async ended() {
      await until(() => over, 'the end of a WebSocket')
      return close
    },
  }
}
