import { type LiveListener, type LivePublication, type Message } from '@everwire/core'
import type { Msg } from '@nats-io/transport-node'
import type { Connection } from './connection.js'
import type { Mesh } from './mesh.js'
import { LiveRun } from './live-run.js'
import { decodeMessage, encodeMessage, type LiveNumbers } from './message.js'
import type { Subjects } from './subjects.js'

export interface LiveOptions {
  nodeId: string
  connection: Connection
  mesh: Mesh
  subjects: Subjects
  beatMs: number
}

/** A channel that somebody on this node listens to. */
interface Listening {
  readonly channel: string
  readonly listener: LiveListener
  /** Last number of each run that came. */
  readonly heard: Map<string, number>
  /** What each node had published, in any channel, when this began. */
  baseline: ReadonlyMap<string, unknown>
  /** Publications of programs that are no node are numbered here, in a run of their own. */
  foreign: number
  readonly foreignRun: string
}

/** How the run of a program begins that is no node and numbers what it sends. No node's id is like it. */
export const publisherRun = 'p-'
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
  readonly #run: LiveRun
  #listened = 0
  readonly #asking = new Set<Promise<void>>()

  constructor(options: LiveOptions) {
    this.#options = options
    const { mesh, nodeId } = options
    const run = (this.#run = new LiveRun(nodeId))
    mesh.handle('barrier', () => run.number)
    mesh.handle('tails', (body) => (body as string[]).map((channel) => run.tail(channel)))
  }

  /** @throws EverwireError `temporary`, or `outcome-unknown` when the connection was lost in the middle */
  async broadcast(channel: string, message: Message): Promise<void> {
    const { connection, subjects } = this.#options
    if (!connection.connected) throw connection.unavailable()
    const numbers = this.#run.next(channel)
    const { payload, headers } = encodeMessage(message, connection.maxPayload, numbers)
    connection.publish(subjects.out(channel), payload, headers)
    // Only now: a number that nobody got would be a loss to all.
    this.#run.sent(channel, numbers)
    await connection.flush()
  }

  async listen(channel: string, listener: LiveListener): Promise<() => void> {
    const { connection, mesh, subjects, nodeId } = this.#options
    const listening: Listening = {
      channel,
      listener,
      heard: new Map(),
      baseline: new Map(),
      foreign: 0,
      foreignRun: `${nodeId}-in-${++this.#listened}`,
    }
    const subscriptions = [
      connection.subscribe(subjects.out(channel), (message) => this.#heard(listening, message)),
      connection.subscribe(subjects.liveIn(channel), (message) => this.#heardForeign(listening, message)),
    ]
    const stop = () => {
      this.#listening.delete(listening)
      for (const subscription of subscriptions) subscription.unsubscribe()
    }
    try {
      const own = this.#run.number
      listening.baseline = new Map([...(await mesh.barrier()), [nodeId, own]])
      this.#listening.add(listening)
    } catch (error) {
      stop()
      throw error
    }
    return stop
  }

  /** Resolves once what was found missing so far is told. */
  async settled(): Promise<void> {
    await Promise.all(this.#asking)
  }

  /** The connection was lost and is back: every node is asked, this one too. */
  async reconnected(): Promise<void> {
    const { mesh, nodeId } = this.#options
    await Promise.all([nodeId, ...mesh.peers].map((node) => this.#ask(node, () => true)))
  }

  /** Publications of a node may have been lost: asks it for the last of each channel that is listened to. */
  async missed(node: string): Promise<void> {
    await this.#ask(node, ({ heard }) => heard.has(node))
  }

  /**
   * A node is gone that cannot be asked any more for what it published last.
   * @param everything also in channels where nothing of it came: what it published may have died with its server
   */
  lost(node: string, everything: boolean): void {
    for (const { heard, listener } of this.#listening) if (everything || heard.has(node)) listener.gap()
  }

  /** @param doubtful who must be told a gap when the node does not answer any more */
  async #ask(node: string, doubtful: (listening: Listening) => boolean): Promise<void> {
    const asking = this.#askAll(node, doubtful)
    this.#asking.add(asking)
    await asking.finally(() => this.#asking.delete(asking))
  }

  async #askAll(node: string, doubtful: (listening: Listening) => boolean): Promise<void> {
    const all = [...this.#listening]
    for (let at = 0; at < all.length; at += channelsAtOnce) {
      const some = all.slice(at, at + channelsAtOnce)
      const tails = await this.#tails(
        node,
        some.map(({ channel }) => channel),
      )
      if (tails === 'later') return
      for (const [index, listening] of some.entries()) {
        if (!this.#listening.has(listening)) continue
        if (tails) this.#compare(listening, node, tails[index] ?? 0)
        else if (doubtful(listening)) listening.listener.gap()
      }
    }
  }

  #compare({ heard, baseline, listener }: Listening, node: string, tail: number): void {
    if (tail <= Math.max(heard.get(node) ?? 0, (baseline.get(node) as number) ?? 0)) return
    heard.set(node, tail)
    listener.gap({ run: node, number: tail })
  }

  async #tails(node: string, channels: readonly string[]): Promise<number[] | 'later' | undefined> {
    const { connection, mesh, nodeId, beatMs } = this.#options
    if (node === nodeId) return channels.map((channel) => this.#run.tail(channel))
    for (;;)
      try {
        return (await mesh.request(node, 'tails', channels, beatMs)) as number[]
      } catch {
        // Once this node can ask again, it asks all that live.
        if (!connection.connected) return 'later'
        // Silence is no death: it may only not be back yet. Who is silent for long is no peer any more.
        if (!mesh.peers.includes(node)) return undefined
        await connection.sleep(beatMs / 4)
      }
  }

  #heard(listening: Listening, message: Msg): void {
    // Only nodes may publish there, as the permissions say.
    const decoded = decodeMessage(message, true)
    if (!decoded.live) return
    const { run, number, previous } = decoded.live
    const { heard, baseline, listener } = listening
    const last = heard.get(run)
    if (number <= (last ?? 0)) return
    remember(heard, decoded.live)
    // Nobody else can see that the first ones of a run were lost: there is nothing before them to compare with.
    const isFirst = last === undefined && this.#listening.has(listening)
    if (isFirst && previous > ((baseline.get(run) as number | undefined) ?? 0)) listener.gap()
    listener.publication({ ...decoded.message, run, number, previous })
  }

  /** A program that numbers what it sends, and cannot be asked: what is missing shows in what follows. */
  #heardPublisher({ heard, listener }: Listening, message: Msg, live: LiveNumbers): void {
    if (live.number <= (heard.get(live.run) ?? 0)) return
    remember(heard, live)
    listener.publication({ ...decodeMessage(message).message, ...live })
  }

  #heardForeign(listening: Listening, message: Msg): void {
    const { live } = decodeMessage(message)
    if (live?.run.startsWith(publisherRun)) return this.#heardPublisher(listening, message, live)
    const number = ++listening.foreign
    const publication: LivePublication = {
      ...decodeMessage(message).message,
      run: listening.foreignRun,
      number,
      previous: number - 1,
      foreign: true,
    }
    listening.listener.publication(publication)
  }
}

function remember(heard: Map<string, number>, { run, number }: LiveNumbers): void {
  heard.delete(run)
  heard.set(run, number)
  if (heard.size > maxRuns) heard.delete(heard.keys().next().value!)
}
