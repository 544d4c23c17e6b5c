import { EverwireError, type LiveListener, type LivePublication, type Message } from '@everwire/core'
import type { Msg } from '@nats-io/transport-node'
import type { Connection } from './connection.js'
import type { Mesh } from './mesh.js'
import { decodeMessage, encodeMessage } from './message.js'
import type { Subjects } from './subjects.js'

export interface LiveOptions {
  nodeId: string
  connection: Connection
  mesh: Mesh
  subjects: Subjects
  nodeTimeoutMs: number
}

/** A channel that somebody on this node listens to. */
interface Listening {
  readonly channel: string
  readonly listener: LiveListener
  /** Last number of each run that came. */
  readonly heard: Map<string, number>
  /** What each node had published, in any channel, when this began. */
  baseline: ReadonlyMap<string, unknown>
  /** Publications of programs that are no node are numbered here. */
  foreign: number
}

/** Channels of which a publisher remembers its last number. */
const maxRemembered = 100_000
const maxRuns = 256
const channelsAtOnce = 500

/**
 * Live channels, on core NATS, which loses what it cannot deliver without a word. So each publication carries its
 * publisher's run, its number there, and the number before it in the channel; and where a break could not be seen (the
 * last one lost, the connection lost, a node not heard of for a while), the nodes are asked what they published last.
 */
export class LiveChannels {
  readonly #options: LiveOptions
  readonly #listening = new Set<Listening>()
  /** Last number published in a channel, those used longest ago first. */
  readonly #previous = new Map<string, number>()
  #number = 0

  constructor(options: LiveOptions) {
    this.#options = options
    const { mesh } = options
    mesh.handle('barrier', () => this.#number)
    mesh.handle('tails', (body) => (body as string[]).map((channel) => this.#previous.get(channel) ?? 0))
  }

  /** @throws EverwireError `temporary`, or `outcome-unknown` when the connection was lost in the middle */
  async broadcast(channel: string, message: Message): Promise<void> {
    const { connection, nodeId, subjects } = this.#options
    if (!connection.connected) throw connection.unavailable()
    const number = ++this.#number
    const previous = this.#previous.get(channel) ?? 0
    this.#previous.delete(channel)
    this.#previous.set(channel, number)
    if (this.#previous.size > maxRemembered) this.#previous.delete(this.#previous.keys().next().value!)
    const { payload, headers } = encodeMessage(message, { run: nodeId, number, previous })
    connection.nats.publish(subjects.out(channel), payload, { headers })
    await connection.flush()
  }

  async listen(channel: string, listener: LiveListener): Promise<() => void> {
    const { connection, mesh, subjects, nodeId } = this.#options
    const listening: Listening = { channel, listener, heard: new Map(), baseline: new Map(), foreign: 0 }
    const subscriptions = [
      connection.subscribe(subjects.out(channel), (message) => this.#heard(listening, message)),
      connection.subscribe(subjects.liveIn(channel), (message) => this.#heardForeign(listening, message)),
    ]
    const stop = () => {
      this.#listening.delete(listening)
      for (const subscription of subscriptions) subscription.unsubscribe()
    }
    try {
      const own = this.#number
      listening.baseline = new Map([...(await mesh.barrier()), [nodeId, own]])
      this.#listening.add(listening)
    } catch (error) {
      stop()
      throw error
    }
    return stop
  }

  /** The connection was lost and is back: every node is asked, this one too. */
  async reconnected(): Promise<void> {
    const { mesh, nodeId } = this.#options
    await Promise.all([nodeId, ...mesh.peers].map((node) => this.missed(node)))
  }

  /** Publications of a node may have been lost: asks it for the last of each channel that is listened to. */
  async missed(node: string): Promise<void> {
    const all = [...this.#listening]
    for (let at = 0; at < all.length; at += channelsAtOnce)
      await this.#compare(node, all.slice(at, at + channelsAtOnce))
  }

  async #compare(node: string, some: readonly Listening[]): Promise<void> {
    const tails = await this.#tails(
      node,
      some.map(({ channel }) => channel),
    )
    some.forEach((listening, index) => {
      if (!this.#listening.has(listening)) return
      const { heard, baseline, listener } = listening
      const last = heard.get(node)
      // A node that says nothing is dead: what it published before cannot be known any more.
      if (!tails) return last === undefined ? undefined : listener.gap()
      const tail = tails[index]!
      if (tail <= Math.max(last ?? 0, (baseline.get(node) as number | undefined) ?? 0)) return
      heard.set(node, tail)
      listener.gap()
    })
  }

  async #tails(node: string, channels: readonly string[]): Promise<number[] | undefined> {
    const { mesh, nodeId, nodeTimeoutMs } = this.#options
    if (node === nodeId) return channels.map((channel) => this.#previous.get(channel) ?? 0)
    try {
      return (await mesh.request(node, 'tails', channels, nodeTimeoutMs)) as number[]
    } catch (error) {
      if (error instanceof EverwireError) return undefined
      throw error
    }
  }

  #heard(listening: Listening, message: Msg): void {
    const decoded = decodeMessage(message)
    if (!decoded.live) return
    const { run, number, previous } = decoded.live
    const { heard, listener } = listening
    if (number <= (heard.get(run) ?? 0)) return
    heard.delete(run)
    heard.set(run, number)
    if (heard.size > maxRuns) heard.delete(heard.keys().next().value!)
    listener.publication({ ...decoded.message, run, number, previous })
  }

  #heardForeign(listening: Listening, message: Msg): void {
    const number = ++listening.foreign
    const publication: LivePublication = {
      ...decodeMessage(message).message,
      run: `${this.#options.nodeId}-in`,
      number,
      previous: number - 1,
    }
    listening.listener.publication(publication)
  }
}
