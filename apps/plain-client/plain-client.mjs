// A client of the Everwire protocol, version 1, from PROTOCOL.md alone. Numbers in brackets are sections of that page.
import { createHash, randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { connect } from 'node:net'

const endsSession = /^(bad-frame|unknown-frame|unknown-session|numbering|frame-too-large|slow-consumer)$/
const endsClient = /^(version|unauthorized|origin-refused|closed)$/
const failure = (code, message = code) => Object.assign(new Error(message), { code })
const random = () => randomBytes(9).toString('base64url')
const nothing = () => {}

// Frames [1]: { header, data }; data is JSON text, opaque bytes, or undefined when there is no payload.
const isOpaque = (data) => data instanceof Uint8Array
const toData = (value) => (isOpaque(value) ? value : JSON.stringify(value))
const fromData = (data) => (typeof data === 'string' ? JSON.parse(data) : data)
const toHead = ({ header, data }) => JSON.stringify(header) + (data === undefined ? '' : '\n')
const toBytes = (frame) => Buffer.concat([Buffer.from(toHead(frame)), Buffer.from(frame.data ?? '')])
const toFrame = (whole, type) => {
  const end = whole.indexOf('\n')
  const [header, data] = end < 0 ? [whole] : [whole.slice(0, end), whole.slice(end + 1)]
  const bytes = type && Buffer.from(data ?? '', 'base64')
  return { header: JSON.parse(header), data: type === 'b' ? bytes : type === 't' ? bytes.toString() : data }
}

// WebSocket [6], RFC 6455. A link can `send` and `close`; it hands frames to `take`, and to `end` why it ended.
const toWebSocketFrame = (opcode, payload = Buffer.alloc(0)) => {
  const [{ length }, bytes, mask] = [payload, Buffer.alloc(8), randomBytes(4)]
  bytes.writeUIntBE(length, 2, 6)
  const size = length < 126 ? [length] : length < 65_536 ? [126, ...bytes.subarray(6)] : [127, ...bytes]
  const head = Buffer.from([0x80 | opcode, 0x80 | size[0], ...size.slice(1), ...mask])
  return Buffer.concat([head, payload.map((byte, i) => byte ^ mask[i % 4])])
}
const openWebSocket = (me, attach, take, end) => {
  const { hostname, host, port, pathname } = new URL(`${me.url}/websocket`)
  const key = randomBytes(16).toString('base64')
  const proof = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  const socket = connect({ host: hostname, port: port || 80, noDelay: true })
  const write = (opcode, payload) => socket.write(toWebSocketFrame(opcode, payload))
  const send = (frame) => write(isOpaque(frame.data) ? 2 : 1, toBytes(frame))
  const close = () => socket.setTimeout(1_000, () => socket.destroy()).end(toWebSocketFrame(8))
  let [answer, parts, type, reason, wake] = ['', [], 0, 'link-lost']
  const read = async (size) => {
    for (let bytes; ; await new Promise((resolve) => (wake = resolve))) {
      bytes = size > 0 ? socket.read(size) : Buffer.alloc(0)
      if (bytes?.length === size) return bytes // the rest of a stream that ended is shorter
    }
  }
  const run = async () => {
    const head = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
    socket.write(`${head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`)
    while (!answer.endsWith('\r\n\r\n')) answer += await read(1)
    if (!answer.startsWith('HTTP/1.1 101 ') || !answer.includes(proof)) return socket.destroy()
    for (send(attach(0)); ;) {
      const [first, short] = await read(2)
      const long = short < 126 ? undefined : (await read(short === 126 ? 2 : 8)).toString('hex')
      const [opcode, payload] = [first & 0x0f, await read(long ? parseInt(long, 16) : short)]
      if (opcode === 8) return close((reason = payload.toString('utf8', 2) || reason))
      if (opcode === 9) write(10, payload)
      if (opcode > 2) continue
      parts.push(payload)
      type = opcode || type
      if (first < 0x80) continue // a fragment, and not the last one
      const message = Buffer.concat(parts.splice(0))
      take(me, toFrame(type === 2 ? message : message.toString()))
    }
  }
  socket.on('error', nothing).on('close', () => end(me, reason))
  socket.on('readable', () => wake())
  return { send, close, done: run() }
}

// Server-Sent Events and long polling [7]: the way down is an answer, the way up is the uplink.
const toEvent = ({ header, data }) => {
  const text = isOpaque(data) ? Buffer.from(data).toString('base64') : (data ?? '')
  const lines = (toHead({ header, data }) + text).replaceAll('\n', '\ndata: ')
  return `${isOpaque(data) ? 'event: b\n' : ''}data: ${lines}\n\n`
}
const readEvents = async (answer, take) => {
  let [rest, type, data] = ['', '', []]
  for await (const text of answer.setEncoding('utf8')) {
    const lines = (rest + text).split(/\r\n|\n|\r(?=[^])/) // a CR at the end may be half of a CRLF: it waits
    rest = lines.pop()
    for (const line of lines) {
      const [field, value = ''] = line.split(/: ?([^]*)/)
      if (field === 'event') type = value
      if (field === 'data') data.push(value)
      if (line === '' && data.length > 0) take(toFrame(data.join('\n'), type))
      if (line === '') [type, data] = ['', []]
    }
  }
  if (answer.statusCode !== 200) throw failure('link-lost') // and no refusal: something on the way answered
}
const openHttp = (me, attach, take, end) => {
  const [queue, headers] = [[], { 'content-type': 'text/event-stream' }]
  let [pushed, isOpen, down] = [Promise.resolve(), true]
  const lost = () => end(me, 'link-lost')
  const post = (path, frames, isUplink) => {
    const asked = request(`${me.url}/${path}`, { method: 'POST', headers }).end(frames.map(toEvent).join(''))
    const answer = new Promise((resolve, reject) => asked.on('response', resolve).on('error', reject))
    return { asked, done: answer.then((it) => readEvents(it, (frame) => take(me, frame, isUplink))) }
  }
  const pull = (poll) => {
    down = post(me.name, [attach(poll)])
    down.done.then(() => (isOpen && me.name === 'long-polling' ? pull(poll + 1) : lost()), lost)
  }
  const push = async () => {
    let room = 500_000 // of what an uplink may have; base64 makes more of it
    const last = queue.findIndex((frame) => (room -= toBytes(frame).length) < 0)
    const frames = queue.splice(0, last < 0 ? queue.length : last + 1)
    const numbers = frames.flatMap(({ number }) => number ?? [])
    const header = ['uplink', { session: me.session.id, first: numbers[0] ?? me.session.last + 1 }]
    await post('uplink', [{ header }, ...frames], true).done
    if (me.session.acked < numbers.at(-1)) lost() // not all of it was taken
  }
  const send = (frame) => queue.push(frame) && (pushed = pushed.then(() => queue[0] && push()).catch(lost))
  pull(0)
  return { send, close: () => down.asked.destroy((isOpen = false)) } // what waits is still posted
}

export function createPlainClient({ url, transports, getToken = nothing, answer, timers, ...options }) {
  const { queueSize = 1_000, backoffMs = 500, maxBackoffMs = 20_000, linkTimeoutMs = 5_000 } = options
  const { setTimeout, clearTimeout } = timers ?? globalThis
  const [channels, stats] = [new Map(), { sessions: 0, resumes: 0 }]
  const createSession = () => ({ gen: 0, cursor: 0, unseen: 0, last: 0, acked: 0, out: new Map() })
  let [session, told] = [createSession(), { frameBytes: 65_536, heartbeatMs: 25_000 }]
  let [failures, closed, link, attempt, token, retry] = [0] // `link` is attached, `attempt` tries to

  // The way up: a session frame gets its number, and stays until it is confirmed, or answered if it asks [3].
  const tell = (...header) => link?.send({ header })
  const write = (entry) => link.send(Object.assign(entry, { writtenAt: entry.writtenAt ?? Date.now() }))
  const enqueue = (given, entry = { ...given, number: ++session.last }) => {
    session.out.set(entry.number, entry)
    if (link) write(entry)
  }
  const operate = (header, value) =>
    new Promise((resolve, reject) => {
      const entry = { header, data: toData(value), resolve, reject }
      if (closed) return reject(failure(closed))
      if ([...session.out.values()].filter(isAsking).length >= queueSize) return reject(failure('queue-full'))
      if (toBytes(entry).length > told.frameBytes) return reject(failure('frame-too-large'))
      enqueue(entry)
    })
  const isAsking = ({ resolve }) => resolve !== undefined
  const settle = (number, entry = session.out.get(number)) => session.out.delete(number) && entry
  const confirm = (me, count) => {
    if (count > session.last) return fail(me, 'numbering')
    session.acked = Math.max(session.acked, count)
    for (const [number, { resolve }] of session.out) if (number <= count && !resolve) settle(number)
  }

  // Channels [5]; `last` has the last number of each run, and the offset as that of the run ''.
  const channelOf = (name) => channels.get(name) ?? { hear: nothing }
  const sub = ({ name, epoch, last }) => ['sub', name, ...(epoch ? [epoch, last.get('')] : [])]
  const start = (channel, epoch, offset) =>
    Object.assign(channel, { epoch, last: new Map([['', offset]]), isRead: true, wasRead: false })
  const follow = (channel) => {
    Object.assign(channel, { isRead: false, wasRead: true })
    enqueue({ header: sub(channel), resolve: nothing, reject: nothing })
  }
  const takeBack = (name, code, { hear } = channelOf(name)) => channels.delete(name) && hear({ ended: code })
  const takers = {
    m([, name, event, at, ...more], data) {
      const { isRead, last, epoch, hear } = channelOf(name)
      const [run, number, previous, extra] = typeof at === 'string' ? [at, ...more] : ['', at, ...more]
      if (!isRead || (run && number <= last.get(run))) return
      const isNext = previous === (last.get(run) ?? previous)
      if (!run && !isNext) return follow(channelOf(name))
      if (!isNext) hear({ gap: 'bus' })
      last.set(run, number)
      const position = epoch && { epoch, offset: number }
      if (event !== null) hear({ event, data: fromData(data), position, ...extra })
    },
    gap: ([, name, gap, ...position]) =>
      (position[0] ? start(channelOf(name), ...position) : channelOf(name)).hear({ gap }),
    unsub: ([, name, code]) => takeBack(name, code),
    ack([, number, epoch, offset]) {
      const { header, resolve } = settle(number)
      const channel = header[0] === 'sub' ? channelOf(header[1]) : {}
      if (channel.wasRead && !epoch) channel.hear({ gap: 'session' })
      start(channel, epoch, offset)
      resolve(epoch && { epoch, offset })
    },
    reply: ([, number], data) => settle(number).resolve(fromData(data)),
    err([, number, code, message]) {
      const { header, reject } = settle(number)
      if (header[0] === 'sub') takeBack(header[1], code)
      reject(failure(code, message))
    },
    async req([, method], data, number, mine = session) {
      const reply = async (x) => ({ header: ['reply', number], data: toData(await answer(method, x)) })
      const refuse = ({ code = 'internal', message }) => ({ header: ['err', number, code, message] })
      const frame = await reply(fromData(data)).catch(refuse)
      if (mine === session) enqueue(frame)
    },
  }

  // The way down [3].
  const welcome = (me, news) => {
    told = { ...told, ...news }
    ;[session.id, me.next] = [told.session, news.from]
    confirm(me, news.applied)
    if (me !== attempt) return
    stats[session.isKnown ? 'resumes' : 'sessions']++
    drop(link)
    ;[link, attempt, failures, session.isKnown] = [me, undefined, 0, true]
    for (const entry of session.out.values()) if (entry.number > session.acked) write(entry)
  }
  const receive = (me, { header, data }, isUplink) => {
    if (me.session !== session || (me !== link && me !== attempt && !isUplink)) return // an older link [4]
    const [kind, value, , retryAfterMs] = header
    if (!isUplink) watch(me, told.heartbeatMs)
    if (kind === 'welcome') return welcome(me, value)
    if (kind === 'refuse' || kind === 'superseded') return ended(me, value ?? kind, retryAfterMs)
    if (kind === 'close') return ended(me, value, 0, true)
    if (kind === 'pong' || kind === 'seen') return confirm(me, value)
    if (kind === 'ping') return value === me.next - 1 ? tell('pong', session.cursor) : fail(me, 'numbering')
    if (/^(~.*|hello|stale|drain)$/.test(kind)) return
    if (!takers[kind] && kind !== 'void' && kind !== 'presence') return fail(me, 'unknown-frame')
    const first = me.next
    me.next += kind === 'void' ? value : 1
    if (me.next <= session.cursor + 1) return
    if (first > session.cursor + 1) return fail(me, 'numbering')
    session.cursor = me.next - 1
    session.unseen = (session.unseen % 1) + 2 / told.ackFrames + (2 * (data?.length ?? 0)) / told.ackBytes
    if (session.unseen >= 1) tell('seen', session.cursor)
    takers[kind]?.(header, data, session.cursor)
  }

  // Links come and go [4, 8].
  const watch = (me, ms, missed = 0) => {
    clearTimeout(me.timer)
    me.timer = setTimeout(() => {
      if (me !== link || missed > 2) return ended(me, 'heartbeat-timeout')
      tell('ping', session.last)
      watch(me, missed === 2 ? 5_000 : told.heartbeatMs, missed + 1)
    }, ms)
  }
  const open = async (name) => {
    drop(attempt)
    const [me, gen, place] = [{ name, url, session, close: nothing }, ++session.gen, random()]
    watch((attempt = me), linkTimeoutMs)
    token ??= await getToken()
    const attach = (poll, { id, cursor, acked } = session, waitMs = poll && told.heartbeatMs) => ({
      header: ['attach', { v: 1, session: id, gen, place, poll, waitMs, cursor, acked, token }],
    })
    const opener = name === 'websocket' ? openWebSocket : openHttp
    if (me === attempt) Object.assign(me, opener(me, attach, receive, ended))
  }
  const drop = (me) => {
    ;[link, attempt] = [link, attempt].map((one) => (one === me ? undefined : one))
    for (const timer of [retry, me?.timer]) clearTimeout(timer)
    me?.close()
  }
  const fail = (me, code) => ended(me, code, 0, true, tell('close', code))
  const ended = (me, code, retryAfterMs = 0, isOver = endsSession.test(code)) => {
    if (me !== link && me !== attempt) return
    drop(me)
    if (code === 'token-expired') token = undefined
    if (endsClient.test(code)) return close(code)
    if (isOver) renew()
    if (link || attempt) return
    const wait = Math.random() * Math.min(maxBackoffMs, backoffMs * 2 ** failures++)
    const name = transports[(transports.indexOf(me.name) + Math.min(failures - 1, 1)) % transports.length]
    retry = setTimeout(() => open(name), Math.max(wait, retryAfterMs))
  }
  // The session is lost: channels go on by position, publications are sent again, the rest is told [4].
  const renew = () => {
    const { out } = session
    for (const one of [link, attempt]) drop(one)
    session = createSession()
    for (const channel of channels.values()) if (channel.isRead) follow(channel)
    for (const entry of out.values()) {
      const [kind, name, event, id] = entry.header
      const isRecent = Date.now() - entry.writtenAt <= told.dedupWindowMs / 2
      if (closed) entry.reject?.(failure(closed))
      else if (kind === 'sub' && channels.has(name)) enqueue({ ...entry, header: sub(channelOf(name)) })
      else if (entry.resolve && !entry.writtenAt) enqueue(entry)
      else if (kind === 'pub' && isRecent) enqueue({ ...entry, header: ['pub', name, event, id, 1] })
      else entry.reject?.(failure('outcome-unknown'))
    }
  }
  const close = (code = 'closed') => {
    closed ??= code
    tell('close', 'closed')
    renew()
  }
  open(transports[0])
  return {
    close: () => close(),
    switchTo: open,
    status: () => ({ transport: link?.name, closed, userId: told.userId, ...stats }),
    subscribe(name, hear, { epoch, offset } = {}) {
      channels.set(name, { name, hear, epoch, last: new Map([['', offset]]) })
      return operate(sub(channels.get(name)))
    },
    unsubscribe: (name) => channels.delete(name) && operate(['unsub', name]),
    publish: (name, event, value, id = random()) => operate(['pub', name, event, id], value),
    request: (method, input, timeoutMs = 10_000) => operate(['req', method, timeoutMs], input),
  }
}
