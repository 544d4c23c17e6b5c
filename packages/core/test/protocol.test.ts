import { readFileSync } from 'node:fs'
import t from 'tap'
import {
  codeOfClose,
  codes,
  defaults,
  encodeEvent,
  encodeFrame,
  frameText,
  gapReasons,
  linkKinds,
  parseEvents,
  parseFrame,
  readAttach,
  recoveryOf,
  sessionKinds,
} from '@everwire/core'

// What PROTOCOL.md says is compared with what the code does, so that a client may be written from the page alone.
const page = readFileSync(new URL('../../../PROTOCOL.md', import.meta.url), 'utf8')

const blocks = (tag: string) =>
  [...page.matchAll(new RegExp('```' + tag + '\\n([\\s\\S]*?)\\n?```', 'g'))].map(([, body]) => body!)

/** The cells of the table whose header starts with `first`. */
function table(first: string): string[][] {
  const lines = page.split('\n')
  const start = lines.findIndex((line) => line.startsWith('|') && line.split('|')[1]!.trim() === first)
  const end = lines.findIndex((line, index) => index > start && !line.startsWith('|'))
  return lines.slice(start + 2, end).map((line) =>
    line
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim().replaceAll('`', '')),
  )
}

t.test('every example frame is read, and written again to the same bytes', async (t) => {
  const examples = blocks('frame')
  t.ok(examples.length > 20, 'the page has examples')
  for (const example of examples) {
    const { header, data } = parseFrame(example)
    t.equal(frameText(encodeFrame(header, data)), example)
    if (header[0] === 'attach') t.ok(readAttach(header[1] as Record<string, unknown>))
  }
})

t.test('every example event is read, and written again to the same bytes', async (t) => {
  const examples = blocks('event')
  t.equal(examples.length, 2)
  for (const example of examples) {
    const [frame] = parseEvents(`${example}\n`)
    t.equal(encodeEvent(encodeFrame(frame!.header, frame!.data, { binary: frame!.binary })), `${example}\n`)
  }
})

t.test('the kinds, codes, gap reasons and limits are those of the code', async (t) => {
  const page9 = table('code').map(([code, close, status, recovery]) => [
    code,
    { close: Number(close), status: Number(status), recovery },
  ])
  t.same(Object.fromEntries(page9), codes)
  t.same(Object.fromEntries(table('limit').map(([name, value]) => [name, Number(value)])), { ...defaults })
  for (const [code, { close, recovery }] of Object.entries(codes)) {
    // A browser loads only what it must do otherwise than to retry, and not what never ends a link.
    const known = recovery !== 'operation' && recovery !== 'retry' && recovery
    t.equal(recoveryOf(code), known || (code === 'forbidden' ? 'operation' : 'retry'), code)
    t.equal(codeOfClose(close), known ? code : code === 'forbidden' ? code : 'link-lost')
  }
  t.same(
    table('gap reason').map(([reason]) => reason),
    gapReasons,
  )
  const kinds = table('kind').map(([kind]) => kind)
  t.same([...new Set(kinds)].sort(), [...sessionKinds].sort())
  const linkSection = page.slice(page.indexOf('### Link frames'))
  const linkRows = [...linkSection.slice(0, linkSection.indexOf('```')).matchAll(/^\| *`(\w+)`/gm)].map(
    ([, kind]) => kind!,
  )
  t.same([...new Set(linkRows)].sort(), [...linkKinds].sort())
})
