import type { Clock, Nodes } from '@everwire/core'
import type { Sessions } from '../sessions.js'
import type { Departures, Note } from './departures.js'

const notesAtOnce = 5_000
const tryMs = 1_000
const tries = 3

/**
 * Forwarding notes: a node that leaves tells all others where its sessions went, and a node that starts asks each
 * that it meets. Without the second, a client whose node was replaced would find its session lost at the one that took its place.
 */
export class Notes {
  readonly #nodes: Nodes
  readonly #clock: Clock
  readonly #sessions: Sessions
  readonly #departures: Departures

  constructor(nodes: Nodes, clock: Clock, sessions: Sessions, departures: Departures) {
    this.#nodes = nodes
    this.#clock = clock
    this.#sessions = sessions
    this.#departures = departures
    nodes.handle('notes', (body, from) => {
      for (const note of body as Note[]) if (!sessions.find(note[0])) departures.heard(note, from)
      return true
    })
    nodes.handle('ask-notes', (body) => departures.notes((body as string | null) ?? undefined, notesAtOnce))
    nodes.onNode((node) => void this.#ask(node))
  }

  /** Tells every node that lives; resolves once they know, or do not answer. */
  async leave(): Promise<void> {
    await Promise.all(
      this.#nodes.others.map(async (node) => {
        let notes = this.#departures.notes(undefined, notesAtOnce)
        while (notes.length > 0 && (await this.#tell(node, notes)))
          notes = notes.length < notesAtOnce ? [] : this.#departures.notes(notes.at(-1)![0], notesAtOnce)
      }),
    )
  }

  /** Asks a node that was just heard of all that it knows: the one that knows may be any of them. */
  async #ask(node: string): Promise<void> {
    let after: string | null = null
    try {
      for (;;) {
        const notes = (await this.#nodes.request(node, 'ask-notes', after, tryMs)) as Note[]
        for (const note of notes) if (!this.#sessions.find(note[0])) this.#departures.heard(note, node)
        if (notes.length < notesAtOnce) return
        after = notes.at(-1)![0]
      }
    } catch {
      // The others know the same, unless they have just begun too.
    }
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
