import type { Clock, Nodes } from '@everwire/core'
import type { Sessions } from '../sessions.js'
import type { Departures, Note } from './departures.js'

const notesAtOnce = 5_000
const tryMs = 1_000
const tries = 3

/**
 * Forwarding notes: a node that leaves tells all others where its sessions went, and a node that starts asks one of them.
 * Without the second, a client whose node was replaced would find its session lost at the one that took its place.
 */
export class Notes {
  readonly #nodes: Nodes
  readonly #clock: Clock
  readonly #departures: Departures

  constructor(nodes: Nodes, clock: Clock, sessions: Sessions, departures: Departures) {
    this.#nodes = nodes
    this.#clock = clock
    this.#departures = departures
    nodes.handle('notes', (body, from) => {
      for (const note of body as Note[]) if (!sessions.find(note[0])) departures.heard(note, from)
      return true
    })
    nodes.handle('ask-notes', (body) =>
      departures.notes.slice(body as number, (body as number) + notesAtOnce),
    )
  }

  /** Asks the others what they know, until one has said all of it. */
  async learn(): Promise<void> {
    for (const node of this.#nodes.others)
      try {
        for (let at = 0; ; at += notesAtOnce) {
          const notes = (await this.#nodes.request(node, 'ask-notes', at, tryMs)) as Note[]
          for (const note of notes) this.#departures.heard(note, node)
          if (notes.length < notesAtOnce) return
        }
      } catch {
        // The next one knows the same.
      }
  }

  /** Tells every node that lives; resolves once they know, or do not answer. */
  async leave(): Promise<void> {
    const { notes } = this.#departures
    if (notes.length === 0) return
    await Promise.all(
      this.#nodes.others.map(async (node) => {
        for (let at = 0; at < notes.length; at += notesAtOnce)
          if (!(await this.#tell(node, notes.slice(at, at + notesAtOnce)))) return
      }),
    )
  }

  async #tell(node: string, notes: readonly Note[]): Promise<boolean> {
    for (let attempt = 1; attempt <= tries && !this.#nodes.isGone(node); attempt++)
      try {
        await this.#nodes.request(node, 'notes', notes, tryMs)
        return true
      } catch {
        await new Promise<void>((resolve) => void this.#clock.after(tryMs / 10, resolve))
      }
    return false
  }
}
