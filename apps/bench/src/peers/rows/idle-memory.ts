import type { Results } from '../../table.js'
import type { Row } from './row.js'

/** What a connection costs the server that says nothing, in KiB of resident memory. */
export const idleMemory: Row = {
  name: 'idle',
  nodes: 1,
  async measure(servers, load, { idle }) {
    const server = servers[0]!
    // The first connections load code and fill pools: these are there before it is measured.
    const early = await load.connect(server.url, Math.ceil(idle / 2))
    await Promise.all(early.map((connection) => connection.subscribe()))
    const before = await server.memory()
    const perConnection = async () => ((await server.memory()) - before) / idle / 1_024
    const results: Results = new Map()
    const connections = await load.connect(server.url, idle)
    results.set('idle: memory', await perConnection())
    await Promise.all(connections.map((connection) => connection.subscribe()))
    results.set('idle, subscribed: memory', await perConnection())
    return results
  },
}
