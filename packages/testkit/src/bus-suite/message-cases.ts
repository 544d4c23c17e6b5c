import { maxChannelBytes, utf8, utf8Length, type Message } from '@everwire/core'
import type { Cases } from './types.js'
import { createWorld, fieldsOf, follow, listen, names, plain, range, storeEach, type World } from './world.js'

/** What is carried, and in which channels. */
export const messageCases: Cases = {
  async 'every field of a publication comes as it went'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const messages = allMessages()
    const [followed, listened] = [await follow(bus, 'a:stored'), await listen(bus, 'a:live')]
    for (const message of messages) {
      await bus.store('a:stored', plain, message)
      await bus.broadcast('a:live', message)
    }
    await Promise.all([followed.came(messages.length), listened.came(messages.length)])
    const { publications: after } = await bus.read('a:stored', plain, { after: 0, limit: 1_000 })
    const { publications: before } = await bus.read('a:stored', plain, {
      before: Number.MAX_SAFE_INTEGER,
      limit: 1_000,
    })
    for (const [index, message] of messages.entries()) {
      const wanted = fieldsOf(message)
      const what = JSON.stringify(message)
        .slice(0, 60)
        .replaceAll(/[^ -~]/g, '?')
      for (const [how, found] of Object.entries({
        followed: followed.publications,
        heard: listened.publications,
        after,
        before,
      }))
        t.strictSame(found[index] && fieldsOf(found[index]), wanted, `${how}: ${what}`)
    }
  },

  async 'a publisher may use its buffer again once the publication is stored'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const followed = await follow(bus, 'a:1')
    const data = Uint8Array.of(1, 2, 3)
    await bus.store('a:1', plain, { event: 'e', data: data.slice(), binary: true })
    await followed.came(1)
    t.equal(fieldsOf(followed.publications[0]!).data, 'binary 010203')
    const [first] = (await bus.read('a:1', plain, { after: 0, limit: 1 })).publications
    t.equal(fieldsOf(first!).data, 'binary 010203')
  },

  async 'large publications keep their bytes and their order'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const [followed, listened] = [await follow(bus, 'a:stored'), await listen(bus, 'a:live')]
    const blob = (n: number) => new Uint8Array(65_536).fill(n)
    for (const n of range(1, 20)) {
      const message = { event: `e${n}`, data: blob(n), binary: true }
      await Promise.all([bus.store('a:stored', plain, message), bus.broadcast('a:live', message)])
    }
    await Promise.all([followed.came(20), listened.came(20)])
    const { publications } = await bus.read('a:stored', plain, { after: 0, limit: 100 })
    for (const found of [followed.publications, listened.publications, publications]) {
      t.strictSame(
        found.map(({ event }) => event),
        names(20),
      )
      t.ok(found.every(({ data }, i) => Buffer.from(data as Uint8Array).equals(blob(i + 1))))
    }
  },

  async 'every channel name that is allowed is a channel of its own'(t, suite) {
    const world = await createWorld(t, suite)
    const channels = oddChannels()
    t.ok(channels.every((channel) => utf8Length(channel) <= maxChannelBytes))
    await eachAlone(world, channels, (channel, found) => t.strictSame(found, [channel], channel))
  },
}

/** Each channel gets its own name; tells what its follower and its listener heard, and what reading gives. */
async function eachAlone(
  { bus }: World,
  channels: readonly string[],
  tell: (channel: string, found: string[]) => void,
) {
  const all = await Promise.all(
    channels.map(async (channel) => ({
      channel,
      followed: await follow(bus, channel),
      listened: await listen(bus, channel),
    })),
  )
  await Promise.all(
    channels.map((channel) =>
      Promise.all([storeEach(bus, channel, [channel]), bus.broadcast(channel, { event: channel })]),
    ),
  )
  for (const { channel, followed, listened } of all) {
    await Promise.all([followed.came(1), listened.came(1)])
    const { publications } = await bus.read(channel, plain, { after: 0, limit: 10 })
    tell(
      channel,
      followed.publications.map(({ event }) => event),
    )
    tell(channel, listened.events())
    tell(
      channel,
      publications.map(({ event }) => event),
    )
  }
}

function allMessages(): Message[] {
  const events = [
    'e',
    'é',
    '日本語 😀',
    'a b',
    ' outside ',
    '"\\"',
    "'",
    '\t\n\r\u0000\u007f\u2028',
    'x: y',
    '%2E',
  ]
  const values: unknown[] = [{}, [], '', 0, null, false, 'text', { text: 'hé\u2028"\\\r\n😀' }, [[[1.5e300]]]]
  const bytes = [[], [0], [10], [13, 10], [0xff, 0xfe], [0xed, 0xa0, 0x80], range(0, 255)]
  return [
    ...events.map((event) => ({ event })),
    { event: 'é'.repeat(100) },
    ...values.map((value) => ({ event: 'e', data: JSON.stringify(value) })),
    ...values.map((value) => ({ event: 'e', data: utf8(JSON.stringify(value)) })),
    { event: 'e', data: ' {"spaces" : "stay" } ' },
    { event: 'e', data: JSON.stringify('x'.repeat(65_000)) },
    ...bytes.map((some) => ({ event: 'e', data: Uint8Array.from(some), binary: true })),
    { event: 'e', data: utf8('{"binary":"that looks like JSON"}'), binary: true },
    { event: 'e', binary: false, data: '1' },
    { event: 'e', userId: 'alice' },
    { event: 'e', userId: 'al ice/é\n"😀', except: 'abcdefghijkl' },
    { event: 'e', except: 'abcdefghijkl', data: '{"a":1}' },
    { event: 'e', data: Uint8Array.of(0), binary: true, userId: 'alice', except: 'abcdefghijkl' },
  ]
}

/** Names that a careless mapping would break, or take for one another. */
function oddChannels(): string[] {
  const rest = [
    ...[
      '.',
      '..',
      '.a',
      'a.',
      'a..b',
      'a.b',
      'a:b',
      'a%3Ab',
      'a%2Eb',
      'a%2eb',
      'a%253Ab',
      '%',
      '%%',
      '%zz',
      '%20',
    ],
    ...['>', '<>', 'a>', '$', '$JS.API.>', '$SYS', '_', '__', '_INBOX.x', '-', '~', '@', '@me', '@user:x'],
    ...['/', '\\', '"', "'", '`', '|', '^', '{}', '[0]', '(1)', '!', '?', '#', '&', '=', '+', ',', ';'],
    ...[
      'é',
      'É',
      'ß',
      'ω',
      '日本',
      '😀',
      '👩\u200d👩',
      '\u05d0',
      'İ',
      'a',
      'A',
      '0',
      '00',
      'in',
      'out',
      'null',
    ],
    ...['constructor', '__proto__', 'toString'],
  ]
  const longest = maxChannelBytes - utf8Length('x:')
  return [
    ...rest.map((name) => `x:${name}`),
    'X:a',
    '$JS:API',
    '_:_',
    '>:>',
    'x.y:z',
    'x:y:z',
    'x:y.z',
    '@user:alice',
    '@user:al%20ice%2F%C3%A9',
    `x:${'a'.repeat(longest)}`,
    `x:${'.'.repeat(longest)}`,
    `x:${'é'.repeat(longest / 2)}`,
    `x:${'日'.repeat(longest / 3)}`,
    Array.from({ length: maxChannelBytes / 2 }, () => 'a').join(':'),
  ]
}
