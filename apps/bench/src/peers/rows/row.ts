import type { Results } from '../../table.js'
import type { Load } from '../load.js'
import type { ServerProcess } from '../server-process.js'

/** One thing that is measured, in one or more lines of the table. */
export interface Row {
  readonly name: string
  /** How many servers it needs. */
  readonly nodes: 1 | 2
  /** Each server is new, and ends after it. What is timed is done once before, for the compiler. */
  measure(servers: readonly ServerProcess[], load: Load, sizes: Sizes): Promise<Results>
}

export interface Sizes {
  subscribers: number
  /** Publications to all subscribers, for each line. */
  publications: number
  /** Echoes, for each line. */
  echoes: number
  /** Connections that echo. */
  talkers: number
  /** Connections that do nothing. */
  idle: number
  /** Publications a second on two nodes, and for how long, when latency is measured. */
  perSecond: number
  latencyMs: number
}

/** Does it twice: the first time is thrown away. Rate of the second, and what it cost the servers per unit, in µs. */
export async function measureRate(
  servers: readonly ServerProcess[],
  units: number,
  run: () => Promise<void>,
): Promise<{ rate: number; cpu: number }> {
  await run()
  const cpu = async () => {
    let sum = 0
    for (const server of servers) sum += await server.cpu()
    return sum
  }
  const before = await cpu()
  const started = performance.now()
  await run()
  const seconds = (performance.now() - started) / 1_000
  return { rate: units / seconds, cpu: ((await cpu()) - before) / units }
}
