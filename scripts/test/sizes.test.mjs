import { existsSync } from 'node:fs'
import t from 'tap'
import { at } from '../lib.mjs'
import { bundles, measure, problemsOf } from '../sizes.mjs'

// `npm run check:sizes` is run as a check; here, that it finds what it is for.

const webSocketOnly = bundles['client + websocket']

t.test(
  'a bundle has no byte of the transports that it does not import, nor of what only servers use',
  async (t) => {
    for (const [name, one] of Object.entries(bundles)) {
      const others = one.without.filter((file) =>
        /transport-|(codes|owner-session|outbox-budget)\.ts$/.test(file),
      )
      t.ok(others.length > 0)
      t.same(problemsOf({ limit: Infinity, without: others }, await measure(one)), [], name)
    }
  },
)

t.test('what is too large, or in a bundle that must be without it, is told', async (t) => {
  const size = await measure(webSocketOnly)
  t.same(problemsOf({ limit: size.gzip, without: [] }, size), [])
  t.match(problemsOf({ limit: size.gzip - 1, without: ['core/src/session.ts'] }, size), [
    /^\d+ bytes, 1 more than allowed$/,
    /core\/src\/session\.ts is in it, with \d+ bytes$/,
  ])
})

t.test('every file that a bundle must be without exists', async (t) => {
  const everything = Object.values(bundles).flatMap(({ without }) => without)
  for (const file of new Set(everything))
    t.ok(existsSync(at(file.startsWith('packages/') ? file : `packages/${file}`)), file)
})
