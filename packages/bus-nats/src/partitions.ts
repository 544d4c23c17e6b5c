import { Partition, type PartitionOptions } from './partition.js'
import { channelToSubject, classId, partitionOf, type StoredClass } from './subjects.js'

export type PartitionsOptions = Omit<PartitionOptions, 'history' | 'index'>

/** The streams of all history classes that this node uses. */
export class Partitions {
  readonly #options: PartitionsOptions
  readonly #byStream = new Map<string, Partition>()

  constructor(options: PartitionsOptions) {
    this.#options = options
  }

  /** Makes all streams of a class. */
  async prepare(stored: StoredClass): Promise<void> {
    const all = Array.from({ length: stored.partitions }, (_, index) => this.#partition(stored, index))
    await Promise.all(all.map((partition) => partition.epoch()))
  }

  /** Where a channel is stored. */
  place(channel: string, stored: StoredClass): { partition: Partition; subject: string } {
    const partition = this.#partition(stored, partitionOf(channel, stored.partitions))
    return { partition, subject: partition.subject(channelToSubject(channel)) }
  }

  /** Something was stored in a channel that its readers may not have heard of. */
  hint(stream: string, subject: string): void {
    for (const follower of this.#byStream.get(stream)?.followers ?? [])
      if (follower.subject === subject) follower.hint()
  }

  /** Looks for what was missed, in the streams that somebody follows. */
  async check(): Promise<void> {
    const followed = [...this.#byStream.values()].filter(({ followers }) => followers.size > 0)
    await Promise.all(
      followed.map((partition) =>
        partition.check().catch((error: unknown) => {
          this.#options.log('warn', { err: error, stream: partition.stream }, 'a stream could not be checked')
        }),
      ),
    )
  }

  /** The servers were out of reach; or another node found one stream to be put back. */
  doubt(stream?: string): void {
    for (const partition of this.#byStream.values())
      if (stream === undefined || partition.stream === stream) partition.doubt()
  }

  #partition(history: StoredClass, index: number): Partition {
    const { subjects } = this.#options
    const stream = subjects.stream(classId(history, history.storage), index)
    let partition = this.#byStream.get(stream)
    if (!partition) {
      partition = new Partition({ ...this.#options, history, index })
      this.#byStream.set(stream, partition)
    }
    return partition
  }
}
