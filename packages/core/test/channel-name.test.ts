import { test } from 'tap'
import { assertChannelName, channelNameFault, codeOf, isChannelName, ownChannel } from '../src/index.js'

const codeOfName = (name: string) => {
  const isGood = isChannelName(name)
  try {
    assertChannelName(name)
    return isGood ? 'fine' : 'the client refuses it'
  } catch (error) {
    return isGood ? 'the client takes it' : codeOf(error)
  }
}

test('a channel is namespace:rest, 1 to 200 bytes of UTF-8 in NFC', (t) => {
  const good = [
    'a:b',
    'chat:lobby',
    'chat:lobby:1:2:3',
    'chat:é',
    'chat:日本',
    'chat:𝄞',
    'CHAT:Lobby.with-all_of/these?&#%~!$()',
    `a:${'x'.repeat(198)}`,
    `a:${'é'.repeat(99)}`,
    `a:${'𝄞'.repeat(49)}`,
    'chat:a@b',
  ]
  for (const name of good) {
    t.equal(channelNameFault(name), undefined, name.slice(0, 30))
    t.equal(codeOfName(name), 'fine')
  }
  t.equal(codeOfName(ownChannel), 'fine', 'the own channel is the one exception')
  t.end()
})

test('everything else is refused, and the reason says what is wrong', (t) => {
  const bad: [string, RegExp][] = [
    ['', /namespace/],
    ['chat', /namespace/],
    [':', /empty part/],
    ['a:', /empty part/],
    [':b', /empty part/],
    ['a::b', /empty part/],
    ['a:b:', /empty part/],
    ['a: b', /space/],
    ['a:\u00a0b', /space/],
    ['a:\u3000b', /space/],
    ['a:\tb', /space|control/],
    ['a:b\n', /space|control/],
    ['a:\0', /control/],
    ['a:\u007f', /control/],
    ['a:\u0085', /control/],
    ['a:\ud800', /half/],
    ['a:\udc00b', /half/],
    ['a:e\u0301', /NFC/],
    ['a:\u212b', /NFC/],
    ['chat:*', /\*/],
    ['*:b', /\*/],
    [`a:${'x'.repeat(199)}`, /200 bytes/],
    [`a:${'é'.repeat(100)}`, /200 bytes/],
    [`a:${'x'.repeat(1_000_000)}`, /200 bytes/],
  ]
  for (const [name, reason] of bad) {
    t.match(channelNameFault(name), reason, JSON.stringify(name.slice(0, 30)))
    t.equal(codeOfName(name), 'invalid-channel')
  }
  for (const name of ['@', '@ME', '@me:x', '@other', '@a:b'])
    t.equal(codeOfName(name), 'invalid-channel', name)
  t.end()
})

test('the short check of clients agrees about every character', (t) => {
  const different: string[] = []
  for (let unit = 0; unit <= 0xffff; unit++) {
    const name = `a:${String.fromCharCode(unit)}b`
    if (!['fine', 'invalid-channel'].includes(codeOfName(name))) different.push(unit.toString(16))
  }
  t.same(different, [])
  t.end()
})

test('the message does not repeat a name of any length', (t) => {
  try {
    assertChannelName('x'.repeat(100_000))
    t.fail('must throw')
  } catch (error) {
    t.ok((error as Error).message.length < 300)
  }
  t.end()
})
