import { jetstream, jetstreamManager, StorageType } from '@nats-io/jetstream'
import { connect, nanos } from '@nats-io/transport-node'
import { dedupWindowMs, history, type Candidate, type CandidateFactory, type Heard } from './candidate.js'

/** NATS as its own client gives it, with a stream like those of Everwire: the most that can be had. */
export const bareNats =
  (servers: string): CandidateFactory =>
  async (run): Promise<Candidate> => {
    const [publisher, subscriber] = [await connect({ servers }), await connect({ servers })]
    const manager = await jetstreamManager(publisher)
    await manager.streams.add({
      name: run,
      subjects: [`${run}.in.>`],
      storage: StorageType.File,
      max_msgs_per_subject: history.size,
      max_age: nanos(history.ttlMs),
      duplicate_window: nanos(dedupWindowMs),
      allow_direct: true,
      republish: { src: `${run}.in.>`, dest: `${run}.out.>` },
    })
    const jetStream = jetstream(publisher)
    let flush: Promise<void> | undefined
    let id = 0
    const hear = async (channel: string, heard: Heard) => {
      subscriber.subscribe(`${run}.out.${channel}`, { callback: (_error, { data }) => heard(data) })
      await subscriber.flush()
    }
    return {
      listen: hear,
      follow: hear,
      broadcast(channel, text) {
        publisher.publish(`${run}.out.${channel}`, text)
        // One round trip for all of a turn: a publisher that wants to know must ask.
        return (flush ??= Promise.resolve().then(async () => {
          flush = undefined
          await publisher.flush()
        }))
      },
      store: (channel, text) => jetStream.publish(`${run}.in.${channel}`, text, { msgID: `${run}.${++id}` }),
      async close() {
        await manager.streams.delete(run)
        await Promise.all([publisher.close(), subscriber.close()])
      },
    }
  }
