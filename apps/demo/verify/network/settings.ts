import { parseArgs } from 'node:util'
import { sabotages, type Sabotage } from './judge.js'
import type { Scenario } from './scenario.js'

export interface Settings {
  seed: number
  brief: boolean
  markdown: boolean
  sabotage: Sabotage | undefined
  scenarios: readonly Scenario[]
}

/** An error whose message says all. */
export class UsageError extends Error {}

const mostSeed = 2 ** 31

/** @throws UsageError */
export function readSettings(args: readonly string[], scenarios: readonly Scenario[]): Settings {
  const { values } = parse(args)
  const seed = values.seed === undefined ? Math.floor(Math.random() * mostSeed) : Number(values.seed)
  if (!Number.isSafeInteger(seed) || seed < 0) throw new UsageError('--seed must be a whole number from 0')
  const sabotage = sabotages.find((one) => one === values.sabotage)
  if (values.sabotage !== undefined && !sabotage)
    throw new UsageError(`--sabotage must be one of ${sabotages.join(', ')}`)
  const { brief = false, markdown = false } = values
  const names = values.only?.split(',')
  const unknown = names?.filter((name) => !scenarios.some((one) => one.name === name))
  if (unknown && unknown.length > 0)
    throw new UsageError(`--only must be some of ${scenarios.map(({ name }) => name).join(',')}`)
  return {
    seed,
    brief,
    markdown,
    sabotage,
    scenarios: scenarios.filter((one) => (names ? names.includes(one.name) : one.brief || !brief)),
  }
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
        markdown: { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}
