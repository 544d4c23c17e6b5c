import { createHmac, timingSafeEqual } from 'node:crypto'
import { EverwireError, type Cancel, type Clock } from '@everwire/core'
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
  /** A node is gone, and it is not known whether everything came that it said. */
  lost(node: string): void
  /** Something that pretends to be a node: not signed, or said before. */
  refused(reason: string): void
}

/** What one node says to another: signed, and numbered so that it cannot be said again by somebody else. */
interface Statement {
  from: string
  /** Rises with each statement of a node to the same subject. */
  number: number
  kind: string
  body: unknown
}

interface Peer {
  seenAt: number
  beat: number
}

type Answer = (body: unknown, from: string) => unknown

const signatureHeader = 'Everwire-Signature'
const maxPeersHeard = 10_000

/** The other nodes: who lives, and what they ask each other. */
export class Mesh {
  readonly #options: MeshOptions
  readonly #handlers = new Map<string, Answer>()
  readonly #peers = new Map<string, Peer>()
  readonly #heard = new Map<string, number>()
  readonly #said = new Map<string, number>()
  #subscriptions: Subscription[] = []
  #beat = 0
  #cancelBeat: Cancel = () => {}
  #barrier: Promise<ReadonlyMap<string, unknown>> | undefined

  constructor(options: MeshOptions) {
    this.#options = options
  }

  /** Ids of the other nodes that live, as far as this one knows. */
  get peers(): string[] {
    return [...this.#peers.keys()]
  }

  /** Answers requests of a kind; what it throws is told as `temporary`. */
  handle(kind: string, answer: Answer): void {
    this.#handlers.set(kind, answer)
  }

  /** Resolves once all nodes that live know this one: before it, nothing may be published. */
  async start(): Promise<void> {
    const { connection, subjects, nodeId } = this.#options
    const listen = (name: string) =>
      connection.subscribe(subjects.node(name), (message) => void this.#asked(message))
    this.#subscriptions = [listen('all'), listen(`one.${nodeId}`)]
    this.handle('beat', (body, from) => this.#beaten(from, body as { beat: number; hello?: boolean }))
    this.handle('bye', (body, from) => this.#left(from, (body as { beat: number }).beat))
    this.#tell('beat', { beat: ++this.#beat, hello: true })
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
    for (const peer of this.#peers.values()) peer.seenAt = this.#options.clock.now()
  }

  /** Says something to all; nobody answers. */
  tell(kind: string, body: unknown): void {
    if (this.#options.connection.connected) this.#tell(kind, body)
  }

  /**
   * Asks one node.
   * @throws EverwireError `temporary` without an answer in time: the node may be dead, or its server restarting
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
    await connection.flush()
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
    const { connection, clock } = this.#options
    const answers = new Map<string, unknown>()
    const inbox = connection.inbox()
    let cancel: Cancel = () => {}
    let subscription: Subscription | undefined
    await new Promise<void>((resolve) => {
      subscription = connection.subscribe(inbox, (message) => {
        // Nobody listens there, says the server: a suspicion, and no forgery.
        if (message.headers?.hasError) return
        const statement = this.#read(message, inbox)
        // Only an answer to this request counts, only while it is pending, and each node's first.
        if (statement?.kind === 'answer' && !answers.has(statement.from))
          answers.set(statement.from, statement.body)
        if (nodes.every((node) => answers.has(node))) resolve()
      })
      cancel = clock.after(timeoutMs, resolve)
      this.#send(subject, kind, body, inbox)
    })
    cancel()
    subscription?.unsubscribe()
    return answers
  }

  #tell(kind: string, body: unknown): void {
    this.#send(this.#options.subjects.node('all'), kind, body)
  }

  #send(subject: string, kind: string, body: unknown, reply = ''): void {
    const { nodeId, connection } = this.#options
    const number = (this.#said.get(subject) ?? 0) + 1
    // Answers go to a subject that is used once.
    if (kind !== 'answer') this.#said.set(subject, number)
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

  async #asked(message: Msg): Promise<void> {
    const { nodeId } = this.#options
    const statement = this.#read(message, message.subject)
    if (!statement || statement.from === nodeId) return
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

  #beaten(from: string, { beat, hello = false }: { beat: number; hello?: boolean }): void {
    const { clock, missed } = this.#options
    const known = this.#peers.get(from)
    this.#peers.set(from, { seenAt: clock.now(), beat })
    // It must know of this node before it publishes.
    if (hello) this.#tell('beat', { beat: ++this.#beat })
    if (known ? beat > known.beat + 1 : !hello) missed(from)
  }

  #left(from: string, beat: number): void {
    const known = this.#peers.get(from)
    this.#peers.delete(from)
    if (known && beat > known.beat) this.#options.lost(from)
  }

  #bury(): void {
    const { connection, clock, nodeTimeoutMs, lost } = this.#options
    if (!connection.connected) return
    for (const [node, { seenAt }] of this.#peers) {
      if (clock.now() - seenAt <= nodeTimeoutMs) continue
      this.#peers.delete(node)
      lost(node)
    }
  }

  #planBeat(): void {
    const { clock, beatMs } = this.#options
    this.#cancelBeat = clock.after(beatMs, () => {
      this.#bury()
      this.tell('beat', { beat: ++this.#beat })
      this.#planBeat()
    })
  }
}
