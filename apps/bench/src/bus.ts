import { parseArgs } from 'node:util'
import { startNats } from '@everwire/testkit/nats-server'
import { bareNats } from './bare-nats.js'
import type { CandidateFactory } from './candidate.js'
import { inProcess, natsBus } from './everwire-bus.js'
import { table, type Results } from './table.js'
import { measure } from './workloads.js'

const defaults = {
  messages: '20000',
  'one-by-one': '2000',
  'per-second': '1000',
  'latency-ms': '3000',
  rounds: '3',
}
const { values } = parseArgs({
  options: Object.fromEntries(
    Object.entries(defaults).map(([name, value]) => [name, { type: 'string', default: value } as const]),
  ),
})
const number = (name: keyof typeof defaults) => Number(values[name])
const sizes = {
  messages: number('messages'),
  oneByOne: number('one-by-one'),
  perSecond: number('per-second'),
  latencyMs: number('latency-ms'),
}

const server = await startNats()
try {
  const candidates: [name: string, make: CandidateFactory][] = [
    ['bare NATS', bareNats(server.url)],
    ['nats()', natsBus(server.url)],
    ['memoryBus()', inProcess()],
  ]
  const all = new Map(candidates.map(([name]) => [name, [] as Results[]]))
  for (let round = 0; round < number('rounds'); round++) {
    // Another one first in each round: what the machine does meanwhile hits all alike.
    const order = candidates.map((_, index) => candidates[(index + round) % candidates.length]!)
    for (const [name, make] of order) {
      const candidate = await make(`r${round}`.concat(name === 'bare NATS' ? 'bare' : 'bus'))
      try {
        all.get(name)!.push(await measure(candidate, sizes))
      } catch (cause) {
        throw new Error(`${name}, round ${round + 1}: ${(cause as Error).message}`, { cause })
      } finally {
        await candidate.close()
      }
    }
  }
  const [version] = server.servers.map(({ monitor }) => monitor('/varz'))
  const { version: natsVersion } = (await version) as { version: string }
  console.log(
    `Payload 128 bytes, ${sizes.messages} publications a round, medians of ${number('rounds')} rounds; ` +
      `Node ${process.versions.node}, nats-server ${natsVersion}, one process for both sides.\n`,
  )
  console.log(table(all, 'bare NATS'))
} finally {
  await server.stop()
}
