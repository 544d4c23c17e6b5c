import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'

/** As an operator would: deletes all streams of Everwire. Resolves with their number. */
export async function deleteStreams(server: string): Promise<number> {
  const operator = await connect({ servers: server })
  try {
    const manager = await jetstreamManager(operator)
    const streams = (await manager.streams.names().next()).filter((name) => name.startsWith('ew_'))
    await Promise.all(streams.map((name) => manager.streams.delete(name)))
    return streams.length
  } finally {
    await operator.close()
  }
}
