import t from 'tap'
import { runVerify } from './run-verify.js'

// A short slice of `npm run verify:bus`, on real NATS and with real processes; and that it would notice.

t.setTimeout(280_000)

const verify = (...args: string[]) => runVerify('bus', '--seed', '1', ...args)

t.test('whatever is killed, nothing is lost but what a gap tells', async (t) => {
  const { code, last, output } = await verify()
  t.equal(last, 'lost 0 doubled 0 misordered 0 unsignalled-gaps 0 false-gaps 0 scenarios 3')
  if (!t.equal(code, 0)) t.comment(output)
})

t.test('the same fails when the product loses something', async (t) => {
  const { code, last, output } = await verify('--only', 'streams-deleted', '--sabotage', 'drop')
  t.match(last, /^lost [1-9]\d* doubled \d+ misordered \d+ unsignalled-gaps \d+ false-gaps \d+ scenarios 1$/)
  if (!t.equal(code, 1)) t.comment(output)
})

t.test('what it does not know is told in one line', async (t) => {
  for (const args of [['--only', 'nothing'], ['--sabotage', 'luck'], ['--seed', 'x'], ['--loud']]) {
    const { code, output } = await verify(...args)
    t.equal(code, 2)
    t.match(output, new RegExp(`^[^\\n]*${args[0]}[^\\n]*\\n$`))
  }
})
