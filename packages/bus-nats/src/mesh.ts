import { createHmac, timingSafeEqual } from 'node:crypto'
import { EverwireError, type Cancel, type Clock, type NodeAnswer } from '@everwire/core'
import { headers, type Msg, type Subscription } from '@nats-io/transport-node'
import type { Connection } from './connection.js'
import { headerOf } from './message.js'
import type { Subjects } from './subjects.js'

export interface MeshOptions {
  nodeId: string
  connection: Connection
  subjects: Subjects
  clusterKey: string
  clock: Clock
  beatMs: number
  nodeTimeoutMs: number
  /** A node said something that this one may have missed: some of its beats did not come, or it is new. */
  missed(node: string): void
  /**
   * A node is gone, and it is not known whether everything came that it said.
   * @param everything also what it said to whom it had said nothing before: its server may be gone with it
   */
  lost(node: string, everything: boolean): void
  /** A node is there that was not known. */
  met(node: string): void
  /** This node does not hear itself any more, though it is connected; or it does again. */
  hearing(isHearing: boolean): void
  /** Something that pretends to be a node: not signed, or said before. */
  refused(reason: string): void
}

/** What one node says to another: signed, and numbered so that it cannot be said again by somebody else. */
interface Statement {
  from: string
  /** Rises with each statement of a node. */
  number: number
  kind: string
  body: unknown
}

interface Peer {
  readonly seenAt: number
  readonly beat: number
  /** The server of NATS that it was connected to, by its id. */
  readonly server: string
}

/** What a node says at each beat. */
interface Beat {
  beat: number
  server: string
  /** It has just begun, or is connected anew. */
  hello?: boolean
}

/** A question that waits for the answers of these nodes. */
interface Ask {
  readonly nodes: Set<string>
  readonly answers: Map<string, unknown>
  /** Waits no more, with what came. */
  end(): void
}

const signatureHeader = 'Everwire-Signature'
const maxPeersHeard = 10_000
const maxGone = 10_000
/** Beats of its own that a node may miss; the others count it as dead later than that. */
const maxEchoBeats = 2.5

/** The other nodes: who lives, and what they ask each other. */
export class Mesh {
  readonly #options: MeshOptions
  readonly #handlers = new Map<string, NodeAnswer>()
  readonly #peers = new Map<string, Peer>()
  readonly #heard = new Map<string, number>()
  readonly #asks = new Map<string, Ask>()
  readonly #gone = new Set<string>()
  #subscriptions: Subscription[] = []
  #beat = 0
  #asked = 0
  #said = 0
  #inbox = ''
  /** Since when every node that lives could be heard. */
  #joinedAt = 0
  /** When this node heard itself last. */
  #echoAt = 0
  #wasHearing = true
  #cancelBeat: Cancel = () => {}
  #barrier: Promise<ReadonlyMap<string, unknown>> | undefined

  constructor(options: MeshOptions) {
    this.#options = options
  }

  /** Ids of the other nodes that live, as far as this one knows. */
  get peers(): string[] {
    return [...this.#peers.keys()]
  }

  /** Whether a node said good-bye, or was not heard of for as long as a dead one. */
  isGone(node: string): boolean {
    const { connection, nodeId } = this.#options
    if (node === nodeId || this.#peers.has(node)) return false
    if (this.#gone.has(node)) return true
    return connection.connected && this.hearing && this.verdictMs(node) === 0
  }

  /** Milliseconds until a node that stays silent counts as dead. */
  verdictMs(node: string): number {
    const { connection, clock, nodeTimeoutMs, beatMs } = this.#options
    const peer = this.#peers.get(node)
    // Where there is one server, every node that is not heard of at once is not connected to it.
    const patienceMs = peer || connection.clustered ? nodeTimeoutMs : 2 * beatMs
    return Math.max(0, patienceMs - (clock.now() - (peer?.seenAt ?? this.#joinedAt)))
  }

  /** Answers requests of a kind; what it throws is silence. */
  handle(kind: string, answer: NodeAnswer): void {
    this.#handlers.set(kind, answer)
  }

  /** Resolves once all nodes that live know this one: before it, nothing may be published. */
  async start(): Promise<void> {
    const { connection, subjects, nodeId, clock } = this.#options
    const listen = (name: string) =>
      connection.subscribe(subjects.node(name), (message) => void this.#heardAsk(message))
    this.#inbox = connection.inbox()
    this.#subscriptions = [
      listen('all'),
      listen(`one.${nodeId}`),
      // One for the answers to all questions: none is made for each.
      connection.subscribe(`${this.#inbox}.*`, (message) => this.#answered(message)),
    ]
    this.#joinedAt = this.#echoAt = clock.now()
    this.handle('beat', (body, from) => this.#beaten(from, body as Beat))
    this.handle('bye', (body, from) => this.#left(from, (body as { beat: number }).beat))
    this.#sayBeat({ hello: true })
    this.#planBeat()
    await connection.flush()
    // Over several servers interest travels for a while: whoever lives has said so by then, and knows this node.
    if (connection.clustered) {
      await connection.sleep(this.#options.beatMs)
      await this.barrier()
    }
  }

  /** Whoever was silent while this node was cut off need not be dead. */
  reconnected(): void {
    this.#joinAgain()
    this.#sayBeat({ hello: true })
  }

  #joinAgain(): void {
    this.#joinedAt = this.#echoAt = this.#options.clock.now()
    this.#wasHearing = true
    for (const [node, peer] of this.#peers) this.#peers.set(node, { ...peer, seenAt: this.#joinedAt })
  }

  /** False when this node does not even hear itself: then it is the one that is cut off, whatever its socket says. */
  get hearing(): boolean {
    const { clock, beatMs } = this.#options
    return clock.now() - this.#echoAt <= maxEchoBeats * beatMs
  }

  /** Nothing that was asked will be answered. */
  disconnected(): void {
    for (const ask of [...this.#asks.values()]) ask.end()
  }

  /** Says something to one node, or to all; nobody answers. */
  tell(kind: string, body: unknown, node?: string): void {
    const { connection, subjects } = this.#options
    if (connection.connected)
      this.#send(subjects.node(node === undefined ? 'all' : `one.${node}`), kind, body)
  }

  /**
   * Asks one node.
   * @throws EverwireError `temporary` without an answer in time, or when there can be none any more: the node may be
   * dead, or its server restarting
   */
  async request(node: string, kind: string, body: unknown, timeoutMs: number): Promise<unknown> {
    const { connection, subjects } = this.#options
    if (!connection.connected) throw connection.unavailable()
    const answers = await this.#ask(subjects.node(`one.${node}`), kind, body, timeoutMs, [node])
    if (!answers.has(node)) throw new EverwireError('temporary', `node ${node} does not answer`)
    return answers.get(node)
  }

  /**
   * Resolves once every node that lives has answered something that was sent after all that this node sent before:
   * its interest is known then wherever they publish. One round for all that ask in one turn.
   * @returns what each node answered
   * @throws EverwireError `temporary` when a node neither answers nor dies
   */
  barrier(): Promise<ReadonlyMap<string, unknown>> {
    this.#barrier ??= Promise.resolve().then(() => {
      this.#barrier = undefined
      return this.#collect()
    })
    return this.#barrier
  }

  stop(): void {
    this.tell('bye', { beat: this.#beat })
    this.#cancelBeat()
    for (const subscription of this.#subscriptions) subscription.unsubscribe()
    this.#subscriptions = []
  }

  async #collect(): Promise<ReadonlyMap<string, unknown>> {
    const { connection, subjects, clock, beatMs, nodeTimeoutMs } = this.#options
    const answers = new Map<string, unknown>()
    const deadline = clock.now() + nodeTimeoutMs + 2 * beatMs
    // Whether it is lost in the middle of it or before, nobody hears of it: it may be tried again.
    await connection.flush().catch(() => {
      throw connection.unavailable()
    })
    for (;;) {
      this.#bury()
      const missing = this.peers.filter((peer) => !answers.has(peer))
      if (missing.length === 0) return answers
      if (clock.now() >= deadline)
        throw new EverwireError('temporary', `nodes do not answer: ${missing.join(', ')}`)
      if (!connection.connected) throw connection.unavailable()
      const more = await this.#ask(subjects.node('all'), 'barrier', null, beatMs, missing)
      for (const [node, answer] of more) answers.set(node, answer)
    }
  }

  /** Waits for the answers of these nodes, for so long. */
  async #ask(
    subject: string,
    kind: string,
    body: unknown,
    timeoutMs: number,
    nodes: readonly string[],
  ): Promise<Map<string, unknown>> {
    const answers = new Map<string, unknown>()
    const inbox = `${this.#inbox}.${++this.#asked}`
    let cancel: Cancel = () => {}
    await new Promise<void>((resolve) => {
      this.#asks.set(inbox, { nodes: new Set(nodes), answers, end: resolve })
      cancel = this.#options.clock.after(timeoutMs, resolve)
      this.#send(subject, kind, body, inbox)
    }).finally(() => {
      cancel()
      this.#asks.delete(inbox)
    })
    return answers
  }

  #answered(message: Msg): void {
    const ask = this.#asks.get(message.subject)
    // Only an answer to a question counts, and only while it is pending.
    if (!ask) return
    // Nobody listens there, says the server: a suspicion, and no forgery.
    if (message.headers?.hasError) return ask.end()
    const statement = this.#read(message, message.subject)
    if (statement?.kind !== 'answer' || ask.answers.has(statement.from)) return
    ask.answers.set(statement.from, statement.body)
    endIfAnswered(ask)
  }

  #send(subject: string, kind: string, body: unknown, reply = ''): void {
    const { nodeId, connection } = this.#options
    const number = ++this.#said
    const text = JSON.stringify({ from: nodeId, number, kind, body } satisfies Statement)
    const hdrs = headers()
    hdrs.set(signatureHeader, this.#sign(subject, reply, text))
    connection.publish(subject, text, hdrs, reply)
  }

  #sign(subject: string, reply: string, text: string): string {
    return createHmac('sha256', this.#options.clusterKey)
      .update(`${subject}\n${reply}\n${text}`)
      .digest('base64url')
  }

  /** @returns undefined, and says so, when no node said this, or not now */
  #read(message: Msg, subject: string): Statement | undefined {
    const text = message.string()
    const given = Buffer.from(headerOf(message, signatureHeader) ?? '')
    const wanted = Buffer.from(this.#sign(subject, message.reply ?? '', text))
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
      this.#options.refused('a message that is not signed with the cluster key')
      return undefined
    }
    return JSON.parse(text) as Statement
  }

  async #heardAsk(message: Msg): Promise<void> {
    const { nodeId } = this.#options
    const statement = this.#read(message, message.subject)
    if (!statement) return
    if (statement.from === nodeId) return this.#echoed()
    const { from, number, kind, body } = statement
    const stream = `${from} ${message.subject}`
    if (number <= (this.#heard.get(stream) ?? 0))
      return this.#options.refused(`a message of node ${from} that was said before`)
    this.#heard.delete(stream)
    this.#heard.set(stream, number)
    if (this.#heard.size > maxPeersHeard) this.#heard.delete(this.#heard.keys().next().value!)
    const handler = this.#handlers.get(kind)
    if (!handler) return
    try {
      const answer = await handler(body, from)
      if (message.reply && this.#options.connection.connected)
        this.#send(message.reply, 'answer', answer ?? null)
    } catch {
      // Who asks hears nothing, and asks again.
    }
  }

  #echoed(): void {
    this.#echoAt = this.#options.clock.now()
    if (this.#wasHearing) return
    this.#joinAgain()
    this.#options.hearing(true)
  }

  #beaten(from: string, { beat, server, hello = false }: Beat): void {
    const { clock, missed, met } = this.#options
    const known = this.#peers.get(from)
    const isBack = this.#gone.delete(from)
    this.#peers.set(from, { seenAt: clock.now(), beat, server })
    // It was cut off: what it answered meanwhile did not come.
    if (hello && known) this.#giveUpOn(from)
    // It must know of this node before it publishes.
    if (hello) this.#sayBeat()
    // Of what it said last a part may have been lost with its server, unless it has just begun.
    const isDoubtful = hello ? known !== undefined || isBack : !known || beat > known.beat + 1
    if (isDoubtful) missed(from)
    if (!known) met(from)
  }

  #left(from: string, beat: number): void {
    const known = this.#peers.get(from)
    this.#forget(from)
    if (known && beat > known.beat) this.#options.lost(from, true)
  }

  #bury(): void {
    const { connection, clock, nodeTimeoutMs, lost } = this.#options
    if (!connection.connected || !this.hearing) return
    for (const [node, peer] of this.#peers) {
      if (clock.now() - peer.seenAt <= nodeTimeoutMs) continue
      this.#forget(node)
      lost(node, !this.#isOutlived(peer))
    }
  }

  /** Whether the server of a node was there after it: then all came that the node had said. */
  #isOutlived({ server, seenAt }: Peer): boolean {
    const { connection, beatMs } = this.#options
    if (connection.server === server) return true
    // Nodes that died with their server were not heard of at quite the same time.
    const isLater = (other: Peer) => other.server === server && other.seenAt > seenAt + 2 * beatMs
    return [...this.#peers.values()].some(isLater)
  }

  #sayBeat(more: { hello?: true } = {}): void {
    this.tell('beat', { beat: ++this.#beat, server: this.#options.connection.server, ...more } satisfies Beat)
  }

  #forget(node: string): void {
    this.#peers.delete(node)
    this.#gone.add(node)
    if (this.#gone.size > maxGone) this.#gone.delete(this.#gone.keys().next().value!)
    this.#giveUpOn(node)
  }

  /** A node will not answer any more what it was asked before. */
  #giveUpOn(node: string): void {
    for (const ask of [...this.#asks.values()]) if (ask.nodes.delete(node)) endIfAnswered(ask)
  }

  #planBeat(): void {
    const { clock, beatMs, connection, hearing } = this.#options
    this.#cancelBeat = clock.after(beatMs, () => {
      if (connection.connected && !this.hearing && this.#wasHearing) {
        this.#wasHearing = false
        hearing(false)
      }
      this.#bury()
      this.#sayBeat()
      this.#planBeat()
    })
  }
}

function endIfAnswered({ nodes, answers, end }: Ask): void {
  if ([...nodes].every((node) => answers.has(node))) end()
}
