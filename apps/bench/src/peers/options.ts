import { parseArgs } from 'node:util'
import type { Sizes } from './rows/row.js'

export interface Options {
  sizes: Sizes
  rounds: number
  /** Name of the one row that is wanted; all if undefined. */
  only: string | undefined
}

const full = {
  subscribers: 500,
  publications: 300,
  echoes: 40_000,
  talkers: 50,
  idle: 2_000,
  'per-second': 20,
  'latency-ms': 3_000,
  rounds: 3,
}

/** Shows that it works; its figures mean little. */
const brief: typeof full = {
  subscribers: 50,
  publications: 20,
  echoes: 500,
  talkers: 10,
  idle: 1_000,
  'per-second': 20,
  'latency-ms': 300,
  rounds: 1,
}

const numbers = Object.fromEntries(Object.keys(full).map((name) => [name, { type: 'string' }])) as Record<
  keyof typeof full,
  { type: 'string' }
>

/** @throws Error naming the option and what it must be */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: { ...numbers, brief: { type: 'boolean' }, only: { type: 'string' } },
  })
  const number = (name: keyof typeof full): number => {
    const value = Number(values[name] ?? (values.brief ? brief : full)[name])
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} must be a whole number from 1`)
    return value
  }
  return {
    sizes: {
      subscribers: number('subscribers'),
      publications: number('publications'),
      echoes: number('echoes'),
      talkers: number('talkers'),
      idle: number('idle'),
      perSecond: number('per-second'),
      latencyMs: number('latency-ms'),
    },
    rounds: number('rounds'),
    only: values.only,
  }
}
