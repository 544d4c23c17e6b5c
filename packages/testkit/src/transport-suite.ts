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
  const { only, except = {} } = suite
  for (const [name, cases] of Object.entries(groups)) {
    const left = except[name]
    if (left === true) continue
    if (left)
      await t.test(name, async (t) => {
        const unmet = new Set(left)
        await cases(
          pick(t, (name) => !unmet.delete(name)),
          suite,
        )
        t.strictSame([...unmet], [], 'each case that is left out is there')
      })
    else if (!only) await t.test(name, (t) => cases(t, suite))
    else if (only[name])
      await t.test(name, async (t) => {
        const wanted = new Set(only[name])
        await cases(
          pick(t, (name) => wanted.delete(name)),
          suite,
        )
        t.strictSame([...wanted], [], 'each case that was asked for is there')
      })
  }
}

/** A test that passes over the cases that are not wanted. */
function pick(t: SuiteTest, isWanted: (name: string) => boolean): SuiteTest {
  const test: SuiteTest['test'] = (name, run) =>
    isWanted(name) ? t.test(name, run) : Promise.resolve(undefined)
  return new Proxy(t, { get: (target, key) => (key === 'test' ? test : Reflect.get(target, key)) })
}
