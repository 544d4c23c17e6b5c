import { historyCases } from './bus-suite/history-cases.js'
import { lifeCases } from './bus-suite/life-cases.js'
import { liveCases } from './bus-suite/live-cases.js'
import { messageCases } from './bus-suite/message-cases.js'
import { modelCases } from './bus-suite/model-cases.js'
import { nodeCases } from './bus-suite/node-cases.js'
import { retentionCases } from './bus-suite/retention-cases.js'
import type { BusSuiteOptions, BusSuiteTest, Cases } from './bus-suite/types.js'

export type { BusBackend, BusSuiteOptions, BusSuiteTest } from './bus-suite/types.js'

/**
 * What every bus must hold, as the contract in core says it. A bus passes it by handing in a way to make buses on a
 * backend that is empty; the suite does the rest.
 */
export async function busSuite(t: BusSuiteTest, suite: BusSuiteOptions): Promise<void> {
  const groups: Record<string, Cases> = {
    history: historyCases,
    retention: retentionCases,
    live: liveCases,
    messages: messageCases,
    life: lifeCases,
    model: modelCases,
    ...(suite.nodes ? { nodes: nodeCases } : {}),
  }
  const { skip = {} } = suite
  const known = new Set(Object.values(groups).flatMap((cases) => Object.keys(cases)))
  for (const name of Object.keys(skip))
    if (!known.has(name)) throw new TypeError(`busSuite: there is no case ${JSON.stringify(name)} to skip`)

  for (const [group, cases] of Object.entries(groups))
    await t.test(group, {}, async (t) => {
      for (const [name, run] of Object.entries(cases))
        await t.test(name, { skip: skip[name] ?? false }, (t) => run(t, suite))
    })
}
