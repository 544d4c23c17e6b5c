import { badInputCases } from './transport-suite/bad-input-cases.js'
import { faultCases } from './transport-suite/fault-cases.js'
import { leakCases } from './transport-suite/leak-cases.js'
import { linkCases } from './transport-suite/link-cases.js'
import { sessionCases } from './transport-suite/session-cases.js'
import type { SuiteTest, TransportSuiteOptions } from './transport-suite/types.js'

export type {
  SuiteBus,
  SuiteChannel,
  SuiteClient,
  SuiteClientOptions,
  SuiteIdentity,
  SuiteServer,
  SuiteServerOptions,
  SuiteSession,
  SuiteTest,
  TransportSuiteOptions,
} from './transport-suite/types.js'

/**
 * What every transport must hold, over real sockets. A transport passes it by handing in its client half, a server
 * that offers it, and clients; the suite does the rest.
 */
export async function transportSuite(t: SuiteTest, suite: TransportSuiteOptions): Promise<void> {
  const groups = {
    link: linkCases,
    session: sessionCases,
    fault: faultCases,
    'bad input': badInputCases,
    leak: leakCases,
  }
  const { only } = suite
  for (const [name, cases] of Object.entries(groups))
    if (!only) await t.test(name, (t) => cases(t, suite))
    else if (only[name])
      await t.test(name, async (t) => {
        const wanted = new Set(only[name])
        await cases(pick(t, wanted), suite)
        t.strictSame([...wanted], [], 'each case that was asked for is there')
      })
}

/** A test that passes over the cases that are not wanted, and takes those that are off the list. */
function pick(t: SuiteTest, wanted: Set<string>): SuiteTest {
  const test: SuiteTest['test'] = (name, run) =>
    wanted.delete(name) ? t.test(name, run) : Promise.resolve(undefined)
  return new Proxy(t, { get: (target, key) => (key === 'test' ? test : Reflect.get(target, key)) })
}
