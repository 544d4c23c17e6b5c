import { startNats } from '@everwire/testkit/nats-server'
import { payloadBytes } from './payload.js'
import { candidates, type Candidate } from './peers/candidates.js'
import { createLoad } from './peers/load.js'
import { describeMachine } from './peers/machine.js'
import { readOptions } from './peers/options.js'
import { startRedis } from './peers/redis-server.js'
import { echo } from './peers/rows/echo.js'
import { fanOut } from './peers/rows/fan-out.js'
import { idleMemory } from './peers/rows/idle-memory.js'
import type { Row } from './peers/rows/row.js'
import { twoNodes } from './peers/rows/two-nodes.js'
import { startServer } from './peers/server-process.js'
import { table, type Results } from './table.js'

const args = process.argv.slice(2)
const { sizes, rounds, only } = readOptions(args)
const allRows = [fanOut, echo, idleMemory, twoNodes]
const rows = allRows.filter(({ name }) => name === (only ?? name))
if (rows.length === 0) throw new Error(`--only must be one of ${allRows.map(({ name }) => name).join(', ')}`)

/** One row on one candidate, whose servers are new and end with it. */
async function measure(row: Row, { server, wire }: Candidate, bus: string): Promise<Results> {
  const servers = await Promise.all(
    Array.from({ length: row.nodes }, () => startServer(server, row.nodes > 1 ? bus : undefined)),
  )
  const load = createLoad(wire)
  try {
    return await Promise.race([row.measure(servers, load, sizes), load.failed])
  } finally {
    load.close()
    await Promise.all(servers.map((each) => each.stop()))
  }
}

const started = performance.now()
const [nats, redis] = await Promise.all([startNats(), startRedis()])
try {
  const buses = { nats: nats.url, redis: redis.url }
  const all = new Map(
    candidates.map(({ name }) => [name, Array.from({ length: rounds }, (): Results => new Map())]),
  )
  for (const row of rows)
    for (let round = 0; round < rounds; round++) {
      // It takes minutes, and only the table belongs into a file.
      console.error(`${row.name}, round ${round + 1} of ${rounds} ...`)
      // Another one first in each round: what the machine does meanwhile hits all alike.
      const order = candidates.map((_, index) => candidates[(index + round) % candidates.length]!)
      for (const candidate of order) {
        const { name, bus } = candidate
        try {
          const results = await measure(row, candidate, buses[bus])
          for (const [line, value] of results) all.get(name)![round]!.set(line, value)
        } catch (cause) {
          throw new Error(`${name}, ${row.name}, round ${round + 1}: ${(cause as Error).message}`, { cause })
        }
      }
    }
  const { version } = (await nats.servers[0]!.monitor('/varz')) as { version: string }
  const seconds = Math.round((performance.now() - started) / 1_000)
  console.log(
    [
      ['npm run bench:peers', ...(args.length > 0 ? ['--', ...args] : [])].join(' '),
      describeMachine([`nats-server ${version}`, `redis-server ${redis.version}`]),
      `${payloadBytes} bytes, ${sizes.subscribers} subscribers, ${sizes.talkers} connections that echo, ` +
        `${sizes.idle} idle, ${sizes.perSecond} publications a second when paced; ` +
        `medians of ${rounds} rounds, ${seconds} s.\n`,
      table(all, candidates[0]!.name),
    ].join('\n'),
  )
} finally {
  await Promise.all([nats.stop(), redis.stop()])
}
