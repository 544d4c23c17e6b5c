import t from 'tap'
import { checkDescriptors, descriptorLimit } from '../src/descriptors.js'

t.test('warns when the process may not open as many files and sockets as it may have sessions', async (t) => {
  const warnings: string[] = []
  const check = (maxSessions: number, limit: number | undefined) =>
    checkDescriptors(maxSessions, (message) => warnings.push(message), limit)
  check(1_000, 20_000)
  check(19_900, 20_000)
  t.same(warnings, [])
  check(19_901, 20_000)
  t.equal(warnings.length, 1, 'some are needed for the process itself')
  t.match(warnings[0], /maxSessions is 19901.*20000 files and sockets.*ulimit -n.*LimitNOFILE/)
})

t.test('the limit of this process is known', { skip: process.platform === 'win32' }, async (t) => {
  const limit = descriptorLimit()
  if (limit === undefined) {
    t.pass('it is unlimited')
    return
  }
  t.ok(Number.isSafeInteger(limit) && limit > 0, String(limit))
})
