import fc from 'fast-check'
import { test } from 'tap'
import {
  codeInfo,
  codeOf,
  codeOfClose,
  codes,
  createEventStreamParser,
  decode,
  defaults,
  encodeEvent,
  encodeEvents,
  encodeFrame,
  EverwireError,
  frameBytes,
  frameText,
  fromBase64,
  linkKinds,
  parseEvents,
  parseFrame,
  randomBase32,
  readAttach,
  refusal,
  sessionKinds,
  toBase64,
  utf8,
  utf8Length,
  type Frame,
} from '../src/index.js'

const failsWith = (run: () => unknown): string => {
  try {
    run()
    return 'nothing was thrown'
  } catch (error) {
    return codeOf(error, 'app:foreign')
  }
}

test('frames have these bytes', (t) => {
  const publication = encodeFrame(['m', 'chat:lobby', 'message', 1042, 1039], '{"text":"hi"}')
  t.equal(frameText(publication), '["m","chat:lobby","message",1042,1039]\n{"text":"hi"}')
  t.equal(publication.bytes, 52)
  t.equal(frameText(encodeFrame(['void', 3])), '["void",3]')
  t.equal(
    frameText(encodeFrame(['pub', 'a:b', 'e'], '')),
    '["pub","a:b","e"]\n',
    'an empty payload is a payload',
  )
  t.equal(frameText(encodeFrame(['pub', 'a:b', 'e'], utf8('"é"'))), '["pub","a:b","e"]\n"é"')
  const binary = encodeFrame(['pub', 'a:b', 'e'], Uint8Array.of(0, 10, 255), { binary: true })
  t.equal(
    Buffer.from(frameBytes(binary)).toString('hex'),
    `${Buffer.from('["pub","a:b","e"]\n').toString('hex')}000aff`,
  )
  t.equal(binary.bytes, 21)
  t.equal(encodeFrame(['pub', 'a:b', 'e'], '"é𝄞"').bytes, utf8('["pub","a:b","e"]\n"é𝄞"').length)
  t.end()
})

test('a frame is read as it was written, as text and as bytes', (t) => {
  const text = '["m","chat:lobby","message","run",7,0]\n{"a":"x\ny"}'
  t.strictSame(parseFrame(text), {
    header: ['m', 'chat:lobby', 'message', 'run', 7, 0],
    data: '{"a":"x\ny"}',
    binary: false,
  })
  const bytes = Uint8Array.of(...utf8('["pub","a:b","e"]\n'), 0xff, 10, 0)
  const frame = parseFrame(bytes, { binary: true })
  t.strictSame(frame, { header: ['pub', 'a:b', 'e'], data: Uint8Array.of(0xff, 10, 0), binary: true })
  t.equal((frame.data as Uint8Array).buffer, bytes.buffer, 'the payload is a view, not a copy')
  t.strictSame(parseFrame('["drain"]'), { header: ['drain'] })
  t.strictSame(parseFrame('["sub","a:b",null,5,"from a newer peer"]').header, [
    'sub',
    'a:b',
    null,
    5,
    'from a newer peer',
  ])
  t.end()
})

test('what is no frame is refused with its code', (t) => {
  const long = `["pub","a:b","e"]\n"${'x'.repeat(defaults.frameBytes)}"`
  const inputs: [string, string | Uint8Array][] = [
    ['bad-frame', ''],
    ['bad-frame', '\n{}'],
    ['bad-frame', '["m"'],
    ['bad-frame', '{}'],
    ['bad-frame', '[]'],
    ['bad-frame', '[1]'],
    ['bad-frame', '"ping"'],
    ['bad-frame', 'null'],
    ['bad-frame', '\ufeff["drain"]'],
    ['bad-frame', '["drain"]["drain"]'],
    ['unknown-frame', '["nope"]'],
    ['unknown-frame', '["__proto__"]'],
    ['unknown-frame', '["constructor"]'],
    ['bad-frame', '["m","a:b","e"]'],
    ['bad-frame', '["m","a:b","e",1]'],
    ['bad-frame', '["m","a:b","e","run",1]'],
    ['bad-frame', '["m","a:b","e",1.5,0]'],
    ['bad-frame', '["m","a:b","e",-1,0]'],
    ['bad-frame', '["m","a:b","e",9007199254740992,0]'],
    ['bad-frame', '["m","a:b",7,1,0]'],
    ['bad-frame', '["ping"]'],
    ['bad-frame', '["ping","1"]'],
    ['bad-frame', '["void",-1]'],
    ['bad-frame', '["void",1e400]'],
    ['bad-frame', '["hello",[]]'],
    ['bad-frame', '["hello",null]'],
    ['bad-frame', '["close",4400]'],
    ['bad-frame', '["err",1,2]'],
    ['bad-frame', Uint8Array.of(0xff, 0xfe)],
    ['bad-frame', Uint8Array.of(0xef, 0xbb, 0xbf, ...utf8('["drain"]'))],
    ['frame-too-large', long],
    ['frame-too-large', utf8(long)],
    ['frame-too-large', `["pub","a:b","e"]\n"${'é'.repeat(defaults.frameBytes / 2)}"`],
  ]
  for (const [code, input] of inputs)
    t.equal(
      failsWith(() => parseFrame(input)),
      code,
      JSON.stringify(String(input).slice(0, 60)),
    )
  t.equal(
    failsWith(() => parseFrame('["ping",12345]', { maxBytes: 13 })),
    'frame-too-large',
  )
  t.equal(
    failsWith(() => parseFrame('["ping",12345]', { maxBytes: 14 })),
    'nothing was thrown',
  )
  t.end()
})

test('any frame survives each encoding, whatever its payload', (t) => {
  const text = fc.oneof(
    fc.json(),
    fc.string({
      unit: fc.constantFrom('\r', '\n', '\0', ' ', ':', 'data: ', '"', 'é', '𝄞', '\u2028', '\ufeff'),
    }),
  )
  const payload = fc.oneof(
    fc.record({ data: text, binary: fc.constant(false) }),
    fc.record({ data: fc.uint8Array({ maxLength: 200 }), binary: fc.constant(true) }),
    fc.constant({ data: undefined, binary: false }),
  )
  fc.assert(
    fc.property(payload, fc.string(), fc.nat(), ({ data, binary }, event, at) => {
      const encoded = encodeFrame(['pub', 'a:b', event], data, { binary })
      const expected =
        data === undefined
          ? { header: ['pub', 'a:b', event] }
          : { header: ['pub', 'a:b', event], data, binary }
      const same = (frame: Frame) => t.strictSame(frame, expected)
      same(decode(encoded).data === undefined ? decode(encoded) : { ...decode(encoded), binary })
      const bytes = frameBytes(encoded)
      if (bytes.length !== encoded.bytes)
        throw new Error(`${encoded.bytes} bytes were said, ${bytes.length} are there`)
      const compare = (frame: Frame) => {
        const read =
          typeof data === 'string' && frame.data instanceof Uint8Array
            ? Buffer.from(frame.data).toString()
            : frame.data
        if (JSON.stringify({ ...frame, data: read }) !== JSON.stringify({ ...expected }))
          throw new Error(`${JSON.stringify(frame)} is not ${JSON.stringify(expected)}`)
      }
      compare(parseFrame(bytes, { binary }))
      if (!binary) compare(parseFrame(frameText(encoded)))
      const stream = encodeEvent(encoded) + encodeEvent(encoded)
      const frames: Frame[] = []
      const parser = createEventStreamParser((frame) => frames.push(frame))
      const cut = at % (stream.length + 1)
      parser.push(stream.slice(0, cut))
      parser.push(stream.slice(cut))
      if (frames.length !== 2) throw new Error(`${frames.length} frames came of 2`)
      frames.forEach(compare)
    }),
    { numRuns: 500 },
  )
  t.end()
})

test('an event stream has these bytes', (t) => {
  t.equal(encodeEvent(encodeFrame(['drain'])), 'data: ["drain"]\n\n')
  t.equal(
    encodeEvent(encodeFrame(['pub', 'a:b', 'e'], '1\n2')),
    'data: ["pub","a:b","e"]\ndata: 1\ndata: 2\n\n',
  )
  // X18: a CR in a line is a line end, and some readers cut at a NUL.
  t.equal(
    encodeEvent(encodeFrame(['pub', 'a:b', 'e'], '"\r"')),
    'event: t\ndata: ["pub","a:b","e"]\ndata: Ig0i\n\n',
  )
  t.equal(
    encodeEvent(encodeFrame(['pub', 'a:b', 'e'], '\0')),
    'event: t\ndata: ["pub","a:b","e"]\ndata: AA==\n\n',
  )
  t.equal(
    encodeEvent(encodeFrame(['pub', 'a:b', 'e'], Uint8Array.of(0, 255), { binary: true })),
    'event: b\ndata: ["pub","a:b","e"]\ndata: AP8=\n\n',
  )
  t.end()
})

test('an event stream is read in pieces of any size, with any line end', (t) => {
  const sent = [
    encodeFrame(['drain']),
    encodeFrame(['pub', 'a:b', 'e'], '{\n  "x": 1\n}'),
    encodeFrame(['pub', 'a:b', 'e'], '"\r\0"'),
    encodeFrame(['pub', 'a:b', 'e'], Uint8Array.of(1, 2, 3), { binary: true }),
    encodeFrame(['pub', 'a:b', 'e'], ''),
  ]
  const plain = `:hello\nid: 7\nretry: 10\nunknown\n${encodeEvents(sent)}:\n\n`
  const expected = parseEvents(plain)
  t.equal(expected.length, sent.length)
  t.strictSame(expected[2], { header: ['pub', 'a:b', 'e'], data: '"\r\0"', binary: false })
  for (const lineEnd of ['\n', '\r\n', '\r']) {
    const stream = plain.replaceAll('\n', lineEnd)
    t.strictSame(parseEvents(stream), expected, `as one body, ${JSON.stringify(lineEnd)}`)
    let wrong = 0
    for (let cut = 0; cut <= stream.length; cut++) {
      const frames: Frame[] = []
      const parser = createEventStreamParser((frame) => frames.push(frame))
      parser.push(stream.slice(0, cut))
      parser.push('')
      parser.push(stream.slice(cut))
      if (JSON.stringify(frames) !== JSON.stringify(expected)) wrong++
    }
    t.equal(wrong, 0, `cut everywhere, ${JSON.stringify(lineEnd)}`)
    const frames: Frame[] = []
    const parser = createEventStreamParser((frame) => frames.push(frame))
    for (const unit of stream) parser.push(unit)
    t.strictSame(frames, expected, `one by one, ${JSON.stringify(lineEnd)}`)
  }
  t.end()
})

test('an event stream that is wrong is refused with its code', (t) => {
  const codeOfBody = (body: string) => failsWith(() => parseEvents(body))
  t.equal(codeOfBody('event: z\ndata: ["drain"]\n\n'), 'bad-frame', 'unknown event type')
  t.equal(codeOfBody('event: b\ndata: ["drain"]\ndata: *\n\n'), 'bad-frame', 'not base64')
  t.equal(codeOfBody('event: t\ndata: ["drain"]\ndata: /w==\n\n'), 'bad-frame', 'text that is not UTF-8')
  t.equal(codeOfBody('data: ["nope"]\n\n'), 'unknown-frame')
  t.equal(codeOfBody('data: nope\n\n'), 'bad-frame')
  t.equal(codeOfBody('data: ["drain"]\n'), 'bad-frame', 'ends in mid-event')
  t.equal(codeOfBody('data: ["drain"]\r\n'), 'bad-frame', 'ends in mid-event, one line end of two units')
  t.equal(codeOfBody('data: ["drain"]\n\ndata: ["dr'), 'bad-frame', 'ends in mid-line')
  t.end()
})

test('an event that is too large is refused', (t) => {
  const limit = { maxBytes: 1_000 }
  const body = (bytes: number) =>
    encodeEvent(encodeFrame(['pub', 'a:b', 'e'], new Uint8Array(bytes - 18), { binary: true }))
  t.equal(parseEvents(body(1_000), limit).length, 1, 'base64 does not count')
  t.equal(
    failsWith(() => parseEvents(body(1_001), limit)),
    'frame-too-large',
  )
  t.end()
})

test('base64 and base32 are what the RFC says', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20_000, size: 'max' }), (bytes) => {
      const text = toBase64(bytes)
      return text === Buffer.from(bytes).toString('base64') && Buffer.from(fromBase64(text)).equals(bytes)
    }),
    { numRuns: 30 },
  )
  t.match(randomBase32(26), /^[a-z2-7]{26}$/)
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => utf8Length(text) === utf8(text).length))
  for (const text of ['\ud800', '\udc00', '\ud800\ud800\udc00', 'a\udc00\ud800'])
    t.equal(utf8Length(text), utf8(text).length)
  t.end()
})

test('every code has its own close code in the private range, and a status', (t) => {
  const closes = Object.values(codes).map(({ close }) => close)
  t.equal(new Set(closes).size, closes.length, 'unique')
  for (const [code, { close, status, recovery }] of Object.entries(codes)) {
    t.ok(close >= 4000 && close <= 4999, `${code}: close code ${close}`)
    t.ok(status >= 400 && status <= 599, `${code}: status ${status}`)
    t.ok(['stop', 'session', 'retry', 'token', 'transport', 'operation'].includes(recovery), code)
    t.equal(codeOfClose(close, code), code)
  }
  t.equal(codeOfClose(1006), 'link-lost')
  t.equal(codeOfClose(1001, 'going away'), 'link-lost', 'only our own close codes come with a code')
  t.equal(codeInfo('from-the-future'), codes.internal)
  t.equal(codeInfo('toString'), codes.internal)
  t.end()
})

test('an error has its code, its cause, and a message for people', (t) => {
  const cause = new Error('inside')
  const error = new EverwireError('timeout', 'no answer', { cause, retryAfterMs: 5 })
  t.match(error, {
    name: 'EverwireError',
    code: 'timeout',
    cause,
    retryAfterMs: 5,
    message: 'no answer (timeout)',
  })
  t.equal(new EverwireError('app:full').message, 'app:full')
  t.notOk('cause' in new EverwireError('timeout'))
  t.equal(codeOf(error), 'timeout')
  t.equal(codeOf(cause), 'internal')
  t.end()
})

test('the message of an error that came over the wire names the code once', (t) => {
  const sent = [
    new EverwireError('unknown-channel', 'no rule fits'),
    new EverwireError('unknown-channel'),
    new EverwireError('unknown-channel', 'no unknown-channel'),
  ]
  for (const { code, message } of sent) {
    const come = refusal({ header: ['refuse', code, message] } as Frame)
    t.equal(come.message, message)
    t.equal(refusal({ header: ['err', 7, code, come.message] } as Frame, 2).message, message, 'and sent on')
  }
  t.equal(
    new EverwireError('temporary', sent[0]!.message).message,
    'no rule fits (unknown-channel) (temporary)',
  )
  t.end()
})

test('no kind is both numbered and not', (t) => {
  t.strictSame(
    sessionKinds.filter((kind) => linkKinds.includes(kind)),
    [],
  )
  t.end()
})

test('an attach is read field by field', (t) => {
  const good = { v: 1, gen: 1, place: 'p', cursor: 0, acked: 0 }
  t.strictSame(readAttach(good), { ...good, poll: 0 })
  t.strictSame(readAttach({ ...good, session: 's', token: 't', poll: 3, waitMs: 10 }).poll, 3)
  const bad: [string, Record<string, unknown>][] = [
    ['version', { v: 2 }],
    ['version', { v: '1' }],
    ['bad-frame', { gen: 0 }],
    ['bad-frame', { gen: -1 }],
    ['bad-frame', { gen: 1.5 }],
    ['bad-frame', { gen: undefined }],
    ['bad-frame', { cursor: '0' }],
    ['bad-frame', { acked: 2 ** 53 }],
    ['bad-frame', { poll: null }],
    ['bad-frame', { waitMs: -1 }],
    ['bad-frame', { place: '' }],
    ['bad-frame', { place: 'x'.repeat(65) }],
    ['bad-frame', { session: 7 }],
    ['bad-frame', { token: null }],
  ]
  for (const [code, fields] of bad)
    t.equal(
      failsWith(() => readAttach({ ...good, ...fields })),
      code,
      JSON.stringify(fields),
    )
  t.end()
})
