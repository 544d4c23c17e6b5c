import t from 'tap'
import { runVerify } from './run-verify.js'

// A short slice of `npm run verify:cluster`, on real NATS, behind a real HAProxy; and that it would notice.

t.setTimeout(280_000)

const verify = (...args: string[]) => runVerify('cluster', '--seed', '1', ...args)

t.test('whichever node drains or dies, nothing is lost but what a gap tells', async (t) => {
  const { code, last, output } = await verify()
  t.equal(last, 'lost 0 doubled 0 misordered 0 unsignalled-gaps 0 false-gaps 0 scenarios 2')
  if (!t.equal(code, 0)) t.comment(output)
})

t.test('the same fails when a node does not hand its sessions over', async (t) => {
  const { code, last, output } = await verify('--only', 'rolling-restart', '--sabotage', 'no-handover')
  t.match(
    last,
    /^lost 0 doubled 0 misordered 0 unsignalled-gaps 0 false-gaps [1-9]\d* scenarios 1$/,
    'live channels are told of lost sessions',
  )
  if (!t.equal(code, 1)) t.comment(output)
})
