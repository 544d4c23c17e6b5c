import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'

type Header = readonly unknown[]

/** A server that does nothing by itself: a test says what goes down, byte by byte, and sees what comes up. */
export interface ScriptedServer {
  readonly url: string
  /** What the client said, in order, over whatever it came. */
  readonly heard: Header[]
  /** Opcodes and payloads of the WebSocket frames that came up. */
  readonly raw: { opcode: number; payload: Buffer }[]
  /** Resolves once the client has said what `wanted` looks for. */
  hears(wanted: (header: Header) => boolean): Promise<Header>
  /** Puts session and link frames without payload on the link. */
  send(...headers: Header[]): void
  /** Puts bytes on the link as they are. */
  sendBytes(bytes: Uint8Array): void
  close(): void
}

const settings = {
  heartbeatMs: 25_000,
  dedupWindowMs: 120_000,
  frameBytes: 65_536,
  ackFrames: 250,
  ackBytes: 262_144,
}

/** A WebSocket frame as servers send it, unmasked. */
export function serverFrame(first: number, payload: Uint8Array | string): Buffer {
  const bytes = Buffer.from(payload)
  const head = Buffer.alloc(bytes.length < 126 ? 2 : bytes.length < 65_536 ? 4 : 10)
  head.set([first, bytes.length < 126 ? bytes.length : bytes.length < 65_536 ? 126 : 127])
  if (head.length === 4) head.writeUInt16BE(bytes.length, 2)
  if (head.length === 10) head.writeBigUInt64BE(BigInt(bytes.length), 2)
  return Buffer.concat([head, bytes])
}

export async function createScriptedServer(welcome: object = {}): Promise<ScriptedServer> {
  const heard: Header[] = []
  const raw: ScriptedServer['raw'] = []
  const waiting = new Set<() => void>()
  let applied = 0
  let isStream = true
  let down: ServerResponse | Duplex | undefined
  const unsent: Header[] = []

  const hear = (header: Header) => {
    heard.push(header)
    if (['reply', 'err', 'req', 'pub', 'sub', 'unsub'].includes(header[0] as string)) applied++
    for (const check of waiting) check()
  }
  const flush = () => {
    if (!down || unsent.length === 0) return
    const texts = unsent.splice(0).map((header) => JSON.stringify(header))
    if (isStream) for (const text of texts) down.write(serverFrame(0x81, text))
    else down.write(texts.map((text) => `data: ${text}\n\n`).join(''))
  }
  const attached = (header: Header, session = 'abcdefghijkl.abcdefghijklmnopqrstuvwxyz') => {
    hear(header)
    const { gen, poll, cursor } = header[1] as { gen: number; poll: number; cursor: number }
    const place = { gen, from: cursor + 1, applied }
    unsent.unshift(['welcome', poll > 0 ? place : { ...place, session, ...settings, ...welcome }])
  }

  const server = createServer(async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = ''
    for await (const piece of request.setEncoding('utf8')) body += piece
    const headers = body
      .split('\n\n')
      .filter(Boolean)
      .map((event) => JSON.parse(event.replace(/^data: /, '').split('\n')[0]!) as Header)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    if (request.url!.endsWith('/uplink')) {
      for (const header of headers) hear(header)
      response.end(`data: ["seen",${applied}]\n\n`)
      return
    }
    isStream = false
    down = response
    attached(headers[0]!)
    const isHeld = request.url!.endsWith('/sse') || unsent.length === 1
    flush()
    const { poll } = headers[0]![1] as { poll: number }
    if (!request.url!.endsWith('/sse') && (!isHeld || poll === 0)) release()
  })
  const release = () => {
    down?.end()
    down = undefined
  }
  server.on('upgrade', (request, socket: Duplex) => {
    const proof = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64')
    const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade']
    socket.write(`${[...lines, `Sec-WebSocket-Accept: ${proof}`].join('\r\n')}\r\n\r\n`)
    isStream = true
    down = socket
    socket.on('error', () => {})
    readClientFrames(socket, (opcode, payload) => {
      raw.push({ opcode, payload })
      if (opcode === 8) socket.end()
      if (opcode > 2) return hear([`opcode ${opcode}`])
      const header = JSON.parse(payload.toString().split('\n')[0]!) as Header
      if (header[0] !== 'attach') return hear(header)
      attached(header)
      flush()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/everwire`,
    heard,
    raw,
    hears: (wanted) =>
      new Promise((resolve) => {
        const check = () => {
          const found = heard.find(wanted)
          if (!found) return
          waiting.delete(check)
          resolve(found)
        }
        waiting.add(check)
        check()
      }),
    send(...headers) {
      unsent.push(...headers)
      if (!down) return
      flush()
      if (!isStream && !(down as ServerResponse).req.url!.endsWith('/sse')) release()
    },
    sendBytes: (bytes) => void down?.write(bytes),
    close() {
      server.close()
      server.closeAllConnections()
      down?.destroy()
    },
  }
}

function readClientFrames(socket: Duplex, take: (opcode: number, payload: Buffer) => void): void {
  let buffer: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk])
    for (;;) {
      if (buffer.length < 2) return
      const short = buffer[1]! & 0x7f
      const start = short < 126 ? 2 : short === 126 ? 4 : 10
      if (buffer.length < start + 4) return
      const size =
        short < 126 ? short : short === 126 ? buffer.readUInt16BE(2) : Number(buffer.readBigUInt64BE(2))
      const end = start + 4 + size
      if (buffer.length < end) return
      if (buffer[1]! < 0x80) throw new Error('a client must mask')
      const mask = buffer.subarray(start, start + 4)
      const payload = Buffer.from(buffer.subarray(start + 4, end).map((byte, i) => byte ^ mask[i % 4]!))
      const opcode = buffer[0]! & 0x0f
      buffer = buffer.subarray(end)
      take(opcode, payload)
    }
  })
}
