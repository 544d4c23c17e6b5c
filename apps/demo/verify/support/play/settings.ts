import { parseArgs } from 'node:util'
import type { NodeSabotage } from './node-settings.js'
import type { Scenario } from './scenario.js'

export interface Settings {
  seed: number
  /** Short, and only the scenarios that are marked so. */
  brief: boolean
  /** Says of each client when and why it was disconnected, and of which gap it was told. */
  trace: boolean
  sabotage: NodeSabotage | undefined
  scenarios: readonly Scenario[]
}

/** An error whose message says all. */
export class UsageError extends Error {}

const mostSeed = 2 ** 31

/** @throws UsageError */
export function readSettings(
  args: readonly string[],
  scenarios: readonly Scenario[],
  sabotages: readonly NodeSabotage[],
): Settings {
  const { values } = parse(args)
  const seed = values.seed === undefined ? Math.floor(Math.random() * mostSeed) : Number(values.seed)
  if (!Number.isSafeInteger(seed) || seed < 0) throw new UsageError('--seed must be a whole number from 0')
  const sabotage = sabotages.find((one) => one === values.sabotage)
  if (values.sabotage !== undefined && !sabotage)
    throw new UsageError(`--sabotage must be one of ${sabotages.join(', ')}`)
  const brief = values.brief ?? false
  const chosen = scenarios.filter(({ name, brief: short }) =>
    values.only === undefined ? short || !brief : name === values.only,
  )
  if (chosen.length === 0)
    throw new UsageError(`--only must be one of ${scenarios.map(({ name }) => name).join(', ')}`)
  return { seed, brief, trace: values.trace ?? false, sabotage, scenarios: chosen }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        seed: { type: 'string' },
        only: { type: 'string' },
        sabotage: { type: 'string' },
        brief: { type: 'boolean' },
        trace: { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}
