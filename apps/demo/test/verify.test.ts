import t from 'tap'
import { runVerify } from './run-verify.js'

// A short slice of `npm run verify:demo`, in a real browser; and that it would notice.

t.setTimeout(280_000)

const clean = /^lost 0 doubled 0 misordered 0 unsignalled-gaps 0 moves 3$/

const verify = (...args: string[]) => runVerify('demo', ...args)

t.test('a visitor that is moved through the transports by its network loses nothing', async (t) => {
  const { code, last, output } = await verify()
  t.match(last, clean)
  if (!t.equal(code, 0)) t.comment(output)
})

t.test('the same run fails when the product loses something', async (t) => {
  const { code, last, output } = await verify('--sabotage', 'drop')
  // A dropped publication whose acknowledgement was lost with its session is sent again, and then comes after later ones.
  t.match(last, /^lost [1-9]\d* doubled 0 misordered \d+ unsignalled-gaps \d+ moves 3$/)
  if (!t.equal(code, 1)) t.comment(output)
})
