import { codes, encodeFrame, eventStreamType, framesHeader, type ErrorCode } from '@everwire/core'
import { openRawLink, postBody, postUplink } from './raw-link.js'
import { openRawWebSocket } from './raw-websocket.js'
import type { SuiteTest, TransportSuiteOptions } from './types.js'
import { createGate, until } from './until.js'
import { createWorld, range, record, type World } from './world.js'

const utf8 = (text: string) => Buffer.from(text)
const attach = (fields: object) =>
  `["attach",${JSON.stringify({ v: 1, gen: 1, place: 'p', poll: 0, cursor: 0, acked: 0, ...fields })}]`

interface Row {
  code: ErrorCode
  /** Each is one frame, to the byte. */
  frames: (string | Buffer)[]
}

/** What a link may begin with, and must not. */
const firstWords: Record<string, Row> = {
  'a header that is no JSON': { code: 'bad-frame', frames: ['["attach",'] },
  'a header that is no array': { code: 'bad-frame', frames: ['{"attach":1}'] },
  'an empty array': { code: 'bad-frame', frames: ['[]'] },
  'a kind that is no string': { code: 'bad-frame', frames: ['[1,2]'] },
  'a bare word': { code: 'bad-frame', frames: ['"attach"'] },
  'an attach without fields': { code: 'bad-frame', frames: ['["attach"]'] },
  'an attach whose fields are an array': { code: 'bad-frame', frames: ['["attach",[]]'] },
  'a ping that counts text': { code: 'bad-frame', frames: ['["ping","1"]'] },
  'a ping that counts below zero': { code: 'bad-frame', frames: ['["ping",-1]'] },
  'a void that counts below zero': { code: 'bad-frame', frames: ['["void",-5]'] },
  'a kind that nobody knows': { code: 'unknown-frame', frames: ['["teleport",1]'] },
  'a kind that objects inherit': { code: 'unknown-frame', frames: ['["constructor",1]'] },
  'a kind named __proto__': { code: 'unknown-frame', frames: ['["__proto__",{}]'] },
  'a subscribe before the attach': { code: 'bad-frame', frames: ['["sub","live:x"]'] },
  'a publication before the attach': { code: 'bad-frame', frames: ['["pub","live:x","e"]\n1'] },
  'a welcome from a client': { code: 'bad-frame', frames: ['["welcome",{}]'] },
  'a close before the attach': { code: 'bad-frame', frames: ['["close","closed"]'] },
  'an attach of another version': { code: 'version', frames: [attach({ v: 2 })] },
  'a hello of another version': { code: 'version', frames: ['["hello",{"v":"1"}]'] },
  'an attach without a version': { code: 'version', frames: [attach({ v: undefined })] },
  'an attempt numbered 0': { code: 'bad-frame', frames: [attach({ gen: 0 })] },
  'an attempt numbered 1.5': { code: 'bad-frame', frames: [attach({ gen: 1.5 })] },
  'a cursor below zero': { code: 'bad-frame', frames: [attach({ cursor: -1 })] },
  'a place that is missing': { code: 'bad-frame', frames: [attach({ place: undefined })] },
  'a place that is too long': { code: 'bad-frame', frames: [attach({ place: 'p'.repeat(65) })] },
  'a token that is no text': { code: 'bad-frame', frames: [attach({ token: 7 })] },
  'a session that is no text': { code: 'bad-frame', frames: [attach({ session: {} })] },
  'an id that is none': { code: 'unknown-session', frames: [attach({ session: '../../etc/passwd' })] },
  'a cursor in a session that is new': { code: 'unknown-session', frames: [attach({ cursor: 1 })] },
  'a token that is refused': { code: 'unauthorized', frames: [attach({ token: 'refuse me' })] },
  'a header that is not UTF-8': {
    code: 'bad-frame',
    frames: [Buffer.concat([utf8('["hello",{"v":1,"nonce":"'), Buffer.from([0xc3, 0x28]), utf8('"}]')])],
  },
  'a frame over the limit': { code: 'frame-too-large', frames: [`["req","m"]\n"${'x'.repeat(4_096)}"`] },
}

/** Each fault has its code, costs one line in the log, and is nobody else's business. */
export async function badInputCases(t: SuiteTest, suite: TransportSuiteOptions): Promise<void> {
  const { name } = suite.transport
  const held = createGate()
  const world = await createWorld(t, suite, {
    frameBytes: 4_096,
    authenticate: async ({ token }) => {
      if (token === 'hold me') await held.opened
      return token === 'refuse me' ? null : { userId: token ?? null }
    },
  })
  const bystander = world.client({ getToken: () => 'bystander' })
  const { data, gaps } = await record(bystander, 'live:bystander')
  const [own] = world.everwire.sessions()

  /** Says it, and hears the end: the code, and what is on the wire around it. */
  const say = async (frames: readonly (string | Buffer)[]): Promise<{ code?: string; around: number }> => {
    if (!suite.oneWay) {
      const socket = await openRawWebSocket(world.port, `/everwire/${name}`)
      for (const frame of frames) socket.sendText(frame)
      const { code, reason } = await socket.ended()
      return { code: reason, around: code }
    }
    const body = Buffer.concat(
      frames.flatMap((frame) => [
        ...Buffer.from(frame)
          .toString('latin1')
          .split('\n')
          .flatMap((line) => [utf8('data: '), Buffer.from(line, 'latin1'), utf8('\n')]),
        utf8('\n'),
      ]),
    )
    const { code, status } = await postBody(`${world.url}/${name}`, body)
    return { ...(code === undefined ? {} : { code }), around: status }
  }
  const around = (code: ErrorCode) => {
    const { close, status } = codes[code as keyof typeof codes]
    return suite.oneWay ? status : close
  }
  const allAttached = () =>
    until(() => world.everwire.sessions().every(({ transport }) => transport === name), 'the next poll')
  // While a link is there: otherwise the next poll would ask for a session that is gone.
  const endOthers = async () => {
    await allAttached()
    for (const session of world.everwire.sessions()) if (session !== own) session.end()
  }
  let told = 0
  const untouched = async (t: SuiteTest, lines: readonly string[]) => {
    await world.everwire.publish('live:bystander', 'n', ++told)
    await until(() => data.length === told, 'the bystander')
    t.strictSame(
      world.log.splice(0).map(({ code, level }) => (level === 30 ? code : `level ${level}: ${code}`)),
      lines,
      'one line in the log',
    )
    await until(
      () => world.everwire.sessions().every((session) => session === own),
      'nothing but the bystander',
    )
    t.strictSame([gaps, bystander.stats().sessions, bystander.stats().resumes], [[], 1, 0])
  }

  for (const [what, { code, frames }] of Object.entries(firstWords))
    await t.test(`${what} is refused as ${code}`, async (t) => {
      const answer = await say(frames)
      // What ws itself finds has the close code of the RFC, and no reason.
      const byWs = { 'a header that is not UTF-8': 1007, 'a frame over the limit': 1009 }[what]
      if (!suite.oneWay && byWs !== undefined) t.strictSame(answer, { code: '', around: byWs })
      else t.strictSame(answer, { code, around: around(code) })
      await untouched(t, [code])
    })

  for (const [what, node, lines] of [
    ['nobody', world.everwire.nodeId, ['unknown-session']],
    // Without a bus that joins nodes this means that something is wrong: once there is a warning too.
    ['another node', 'a'.repeat(12), [...(suite.bus ? [] : ['level 40: undefined']), 'unknown-session']],
  ] as const)
    await t.test(`an id of ${what} is refused as unknown-session`, async (t) => {
      const ask = () => say([attach({ session: `${node}.${'a'.repeat(26)}` })])
      let answer = await ask()
      // A node that has just begun has not heard of all the others.
      while (suite.bus && (answer as { code: string }).code === 'node-unavailable') {
        world.log.splice(0)
        answer = await ask()
      }
      t.strictSame(answer, { code: 'unknown-session', around: around('unknown-session') })
      await untouched(t, lines)
    })

  await t.test("another user's session is refused as if it never was", async (t) => {
    const mine = openRawLink(suite.transport, { url: world.url, attach: { token: 'alice' }, stopAfter: 1 })
    const { session } = await mine.welcomed()
    t.strictSame(await say([attach({ session, gen: 9, token: 'mallory' })]), {
      code: 'unknown-session',
      around: around('unknown-session'),
    })
    await mine.send(['req', 'echo'], '"mine"')
    await mine.received(1)
    await mine.ended()
    world.everwire.sessions('alice')[0]?.end()
    await untouched(t, ['unknown-session'])
  })

  await t.test('too many frames before the welcome are refused', async (t) => {
    const answer = await say([
      attach({ token: 'hold me' }),
      ...range(1, 101).map((n) => `["req","echo"]\n${n}`),
    ])
    t.strictSame(answer, { code: 'bad-frame', around: around('bad-frame') })
    held.open()
    await untouched(t, ['bad-frame'])
  })

  for (const channel of [
    'nocolon',
    'a:',
    ':a',
    'a::b',
    'a b:c',
    'chat:*',
    '@user:bob',
    '@you',
    `a:${'b'.repeat(200)}`,
    'a:e\u0301',
    'a:\u0000',
  ])
    await t.test(`the channel name ${JSON.stringify(channel.slice(0, 20))} is refused alone`, async (t) => {
      const link = openRawLink(suite.transport, { url: world.url, attach: {} })
      await link.welcomed()
      for (const kind of ['sub', 'unsub']) await link.send([kind, channel])
      await link.send(['pub', channel, 'e'], '1')
      await link.received(3)
      t.strictSame(
        link.frames.map(({ frame: { header } }) => header.slice(0, 3)),
        range(1, 3).map((n) => ['err', n, 'invalid-channel']),
      )
      await endOthers()
      await link.ended()
      await untouched(t, [])
    })

  await t.test('a frame that only servers send ends the session as bad-frame', async (t) => {
    for (const header of [
      ['m', 'live:x', 'e', 1, 0],
      ['gap', 'live:x', 'bus'],
      ['ack', 1],
    ] as const) {
      const link = openRawLink(suite.transport, { url: world.url, attach: {} })
      await link.welcomed()
      await allAttached()
      await link.send(header as unknown as ['ack', number])
      await link.ended()
      t.strictSame(
        link.others.filter(({ header: [kind] }) => kind === 'close').map(({ header: [, code] }) => code),
        ['bad-frame'],
      )
      await untouched(t, ['bad-frame'])
    }
  })

  if (suite.oneWay) await httpCases(t, { suite, world, untouched, endOthers })
  else {
    await webSocketCases(t, { world, untouched })
    await endCases(t, { world, untouched })
  }
}

/** The close code on the wire of a session that the server ends. */
async function endCases(t: SuiteTest, { world, untouched }: Context): Promise<void> {
  for (const code of ['closed', 'forbidden', 'slow-consumer'] as const)
    await t.test(`a session that the server ends as ${code} closes the WebSocket so`, async (t) => {
      const socket = await openRawWebSocket(world.port, '/everwire/websocket')
      socket.sendText(attach({ token: 'ended' }))
      await until(() => socket.messages.length === 1, 'the welcome')
      world.everwire.sessions('ended')[0]?.end(code, 'because')
      t.strictSame(await socket.ended(), { code: codes[code].close, reason: code })
      t.equal(socket.messages[1], JSON.stringify(['close', code, 'because']))
      await untouched(t, [])
    })
}

interface Context {
  world: World
  untouched(t: SuiteTest, lines: readonly string[]): Promise<void>
}

async function webSocketCases(t: SuiteTest, { world, untouched }: Context): Promise<void> {
  for (const [what, code, frame] of [
    ['a kind that nobody knows', 'unknown-frame', '["teleport",1]'],
    ['a header that is no JSON', 'bad-frame', '["req"'],
    ['a ping that counts otherwise', 'numbering', '["ping",7]'],
    ['a receipt for what was never sent', 'numbering', '["seen",7]'],
  ] as const)
    await t.test(`${what} ends an attached session as ${code}`, async (t) => {
      const socket = await openRawWebSocket(world.port, '/everwire/websocket')
      socket.sendText(attach({}))
      await until(() => socket.messages.length === 1, 'the welcome')
      socket.sendText(frame)
      t.strictSame(await socket.ended(), { code: codes[code].close, reason: code })
      await untouched(t, [code])
    })
}

async function httpCases(
  t: SuiteTest,
  {
    suite,
    world,
    untouched,
    endOthers,
  }: Context & { suite: TransportSuiteOptions; endOthers(): Promise<void> },
): Promise<void> {
  const { name } = suite.transport
  const refused = async (t: SuiteTest, answer: Promise<object>, code: keyof typeof codes) => {
    t.strictSame(await answer, { status: codes[code].status, code })
    await untouched(t, [code])
  }
  const stream = { 'content-type': eventStreamType }

  for (const path of [name, 'uplink']) {
    const url = `${world.url}/${path}`
    for (const [what, body, headers] of [
      ['no body', '', stream],
      ['a body that ends in mid-event', 'data: ["hello",{"v":1}]\n', stream],
      ['an event of an unknown type', 'event: zip\ndata: ["hello",{"v":1}]\n\n', stream],
      ['base64 that is none', 'event: b\ndata: ["hello",{"v":1}]\ndata: %%%\n\n', stream],
      ['frames as JSON', '[{"header":["void",-5]}]', { 'content-type': 'application/json' }],
      ['JSON that is no list', '{"header":1}', { 'content-type': 'application/json' }],
      ['JSON that is broken', '{', { 'content-type': 'application/json' }],
      ['plain text', 'data: ["hello",{"v":1}]\n\n', { 'content-type': 'text/plain' }],
      ['a form', 'a=b', { 'content-type': 'application/x-www-form-urlencoded' }],
    ] as const)
      await t.test(`${path}: ${what} is refused as bad-frame`, async (t) => {
        await refused(t, postBody(url, body, { ...headers }), 'bad-frame')
      })
    await t.test(`${path}: a giant body is refused as frame-too-large`, async (t) => {
      await refused(t, postBody(url, `data: ${'x'.repeat(2_000_000)}\n\n`), 'frame-too-large')
    })
  }

  await t.test('uplink: nothing but a known session and a number will do', async (t) => {
    const nobody = 'aaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaa'
    await refused(t, postUplink(world.url, nobody, 1, []), 'unknown-session')
    await refused(t, postUplink(world.url, 'x', 1, []), 'unknown-session')
    await refused(t, postUplink(world.url, nobody, 0, []), 'bad-frame')
    await refused(t, postBody(`${world.url}/uplink`, 'data: ["ping",0]\n\n'), 'bad-frame')
  })

  await t.test('uplink: an unknown frame is refused, and the session goes on', async (t) => {
    const link = openRawLink(suite.transport, { url: world.url, attach: {} })
    const { session } = await link.welcomed()
    const frame = { ...encodeFrame(['ping', 0]), head: '["teleport",1]' }
    t.strictSame(await postUplink(world.url, session, 1, [frame]), { status: 400, code: 'unknown-frame' })
    await link.send(['req', 'echo'], '1')
    await link.received(1)
    await endOthers()
    await link.ended()
    await untouched(t, ['unknown-frame'])
  })

  if (name !== 'sse') return
  for (const [what, value] of [
    ['no frames header', undefined],
    ['a frames header that is no JSON', '['],
    ['a frames header that is no list', '{"a":1}'],
    ['a frames header with no frames in it', '[1]'],
  ] as const)
    await t.test(`GET with ${what} is refused as bad-frame`, async (t) => {
      const response = await fetch(`${world.url}/sse`, {
        headers: value === undefined ? {} : { [framesHeader]: value },
      })
      t.strictSame(
        [response.status, (await response.text()).slice(0, 26)],
        [400, 'data: ["refuse","bad-frame'],
      )
      await untouched(t, ['bad-frame'])
    })
}
