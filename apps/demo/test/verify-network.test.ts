import t from 'tap'
import { runVerify } from './run-verify.js'

// A short slice of `npm run verify:network`, with a real nginx and a real browser; and that it would notice.

t.setTimeout(200_000)

const verify = (...args: string[]) => runVerify('network', '--seed', '1', ...args)

t.test('the right transport wins in time on every path, and the second visit knows it', async (t) => {
  const { code, last, output } = await verify()
  t.equal(last, 'lost 0 doubled 0 wrong-winner 0 slow 0 scenarios 5')
  if (!t.equal(code, 0)) t.comment(output)
})

t.test('the same fails when nothing is remembered, and when messages get lost', async (t) => {
  const [forgetful, lossy] = await Promise.all([
    verify('--only', 'nginx-no-upgrade', '--sabotage', 'forgetful'),
    verify('--only', 'open', '--sabotage', 'lossy'),
  ])
  t.equal(forgetful.code, 1)
  t.match(forgetful.last, /^lost 0 doubled 0 wrong-winner 2 /)
  t.equal(lossy.code, 1)
  t.match(lossy.last, /^lost [1-9]\d* doubled 0 wrong-winner 0 /)
})
