import { EverwireError, type NodeAnswer, type Nodes } from '@everwire/core'
import type { Connection } from './connection.js'
import type { LiveChannels } from './live.js'
import type { Mesh } from './mesh.js'

/** Of a message, for its header and what says who it is from. */
const envelopeBytes = 2_048

/** Kinds of those who use the bus, apart from its own. */
const scoped = (kind: string) => `node:${kind}`

/** The other nodes, for those who use the bus: there before it is open, and alone until then. */
export class BusNodes implements Nodes {
  readonly #handlers = new Map<string, NodeAnswer>()
  readonly #heard = new Set<(connected: boolean) => void>()
  readonly #met = new Set<(node: string) => void>()
  #joined: { mesh: Mesh; connection: Connection; live: LiveChannels } | undefined

  get others(): readonly string[] {
    return this.#joined?.mesh.peers ?? []
  }
  get connected(): boolean {
    return (this.#joined?.connection.connected && this.#joined.mesh.hearing) ?? false
  }
  get maxBytes(): number {
    return (this.#joined?.connection.maxPayload ?? envelopeBytes) - envelopeBytes
  }

  /** From now on it is these. */
  join(mesh: Mesh, connection: Connection, live: LiveChannels): void {
    this.#joined = { mesh, connection, live }
    for (const [kind, answer] of this.#handlers) mesh.handle(scoped(kind), answer)
  }

  leave(): void {
    this.#joined = undefined
  }

  changed(connected: boolean): void {
    for (const heard of this.#heard) heard(connected)
  }

  met(node: string): void {
    for (const heard of this.#met) heard(node)
  }

  isGone(node: string): boolean {
    return this.#joined?.mesh.isGone(node) ?? false
  }

  verdictMs(node: string): number {
    return this.#joined?.mesh.verdictMs(node) ?? 0
  }

  handle(kind: string, answer: NodeAnswer): void {
    this.#handlers.set(kind, answer)
    this.#joined?.mesh.handle(scoped(kind), answer)
  }

  async request(node: string, kind: string, body: unknown, timeoutMs: number): Promise<unknown> {
    return await this.#mesh().request(node, scoped(kind), body, timeoutMs)
  }

  tell(kind: string, body: unknown, node?: string): void {
    this.#joined?.mesh.tell(scoped(kind), body, node)
  }

  async barrier(): Promise<void> {
    await this.#mesh().barrier()
    // What was lost while this node was cut off is told first: nobody else will.
    await this.#joined?.live.settled()
  }

  onNode(heard: (node: string) => void): void {
    this.#met.add(heard)
  }

  onConnection(heard: (connected: boolean) => void): void {
    this.#heard.add(heard)
  }

  #mesh(): Mesh {
    if (!this.#joined) throw new EverwireError('temporary', 'the bus is not open')
    return this.#joined.mesh
  }
}
