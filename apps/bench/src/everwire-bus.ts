import type { Bus } from '@everwire/core'
import { nats } from '@everwire/bus-nats'
import { memoryBus } from '@everwire/server'
import { dedupWindowMs, history, type Candidate, type CandidateFactory } from './candidate.js'

/** A bus on each side. Those of a process share one. */
async function candidate(publisher: Bus, subscriber: Bus): Promise<Candidate> {
  const buses = new Set([publisher, subscriber])
  let nodes = 0
  for (const bus of buses) {
    await bus.open({ nodeId: `bench${++nodes}`, dedupWindowMs, log() {} })
    await bus.declare('live:*', undefined)
    await bus.declare('history:*', history)
  }
  let gaps = 0
  let id = 0
  return {
    async listen(channel, heard) {
      await subscriber.listen(`live:${channel}`, {
        publication: ({ data }) => heard(data!),
        gap: () => gaps++,
      })
    },
    broadcast: (channel, data) => publisher.broadcast(`live:${channel}`, { event: 'message', data }),
    async follow(channel, heard) {
      await subscriber.follow(`history:${channel}`, history, {
        start() {},
        publication: ({ data }) => heard(data!),
        gap: () => gaps++,
      })
    },
    store: (channel, data) =>
      publisher.store(`history:${channel}`, history, { event: 'message', data }, { id: `${++id}` }),
    async close() {
      for (const bus of buses) await bus.close()
      if (gaps > 0) throw new Error(`${gaps} gaps: this run measured nothing`)
    },
  }
}

export const natsBus =
  (servers: string): CandidateFactory =>
  (prefix) => {
    const open = () => nats({ servers, prefix })
    return candidate(open(), open())
  }

export const inProcess = (): CandidateFactory => () => {
  const bus = memoryBus({ dedupWindowMs })
  return candidate(bus, bus)
}
