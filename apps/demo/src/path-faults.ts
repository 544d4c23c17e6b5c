/** What the path does to the traffic of one visitor. */
export interface PathFaults {
  /** `blocked`: upgrades are refused with 403 · `silent`: they are accepted, and nothing comes through. */
  websocket: 'ok' | 'blocked' | 'silent'
  /** `blocked`: refused with 403 · `held`: the answer is held back until it ends, which a stream never does. */
  sse: 'ok' | 'blocked' | 'held'
  /** `cut`: every connection breaks, and new ones too. */
  cable: 'ok' | 'cut'
}

export type FaultName = keyof PathFaults

export const noFaults: PathFaults = { websocket: 'ok', sse: 'ok', cable: 'ok' }

const values = {
  websocket: ['ok', 'blocked', 'silent'],
  sse: ['ok', 'blocked', 'held'],
  cable: ['ok', 'cut'],
} as const satisfies { [Name in FaultName]: readonly PathFaults[Name][] }

/** @returns the faults that an untrusted body names, or one sentence that says what is wrong with it */
export function readFaults(body: unknown): Partial<PathFaults> | string {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    return 'the body must be an object such as {"websocket":"blocked"}'
  const entries = Object.entries(body)
  if (entries.length === 0) return `name at least one of ${Object.keys(values).join(', ')}`
  for (const [name, value] of entries) {
    if (!Object.hasOwn(values, name))
      return `unknown fault ${JSON.stringify(name.slice(0, 40))}: known are ${Object.keys(values).join(', ')}`
    const known: readonly unknown[] = values[name as FaultName]
    if (!known.includes(value)) return `${name} must be one of ${known.join(', ')}`
  }
  return body as Partial<PathFaults>
}
