import type { HistoryClass } from '@everwire/core'
import type { PatternEntry, Registry } from './registry.js'
import { classId, type StoredClass } from './subjects.js'

type Log = (
  level: 'info' | 'warn' | 'error',
  fields: Readonly<Record<string, unknown>>,
  message: string,
) => void

export interface AgreementOptions {
  registry: Registry
  storage: StoredClass['storage']
  dedupWindowMs: number
  log: Log
}

/** What the channels of this node keep: as it was started, unless another node has changed it for all since. */
export class Agreement {
  readonly #options: AgreementOptions
  /** The class that is in use, by pattern; null for nothing. */
  readonly #patterns = new Map<string, PatternEntry>()
  readonly #adopted = new Map<string, StoredClass>()

  constructor(options: AgreementOptions) {
    this.#options = options
  }

  /**
   * @param prepare makes what the class needs, before anybody is told to use it
   * @returns whether this changed it for other nodes
   * @throws TypeError when other nodes were started with another answer
   */
  async declare(
    pattern: string,
    history: HistoryClass | undefined,
    prepare: (stored: StoredClass) => Promise<void>,
  ): Promise<boolean> {
    const { registry, storage, dedupWindowMs, log } = this.#options
    const make = async () => {
      if (history) await prepare(await registry.class(history, dedupWindowMs))
    }
    const changed = await registry.agree(pattern, history, make, log)
    this.#patterns.set(pattern, { pattern, class: history ? classId(history, storage) : null })
    if (!changed) await make()
    return changed
  }

  class(channel: string, history: HistoryClass): Promise<StoredClass> | StoredClass {
    const { registry, dedupWindowMs } = this.#options
    const pattern =
      this.#adopted.size > 0 ? mostExact([...this.#patterns.values()], channel)?.pattern : undefined
    const adopted = pattern === undefined ? undefined : this.#adopted.get(pattern)
    return adopted ?? registry.class(history, dedupWindowMs)
  }

  /** Looks what other nodes have changed. @returns whether the class of a channel is another now */
  async refresh(): Promise<(channel: string) => boolean> {
    const { registry, log } = this.#options
    const changed = new Set<string>()
    for (const entry of await registry.patterns()) {
      const { pattern } = entry
      const known = this.#patterns.get(pattern)
      if (!known || known.class === entry.class) continue
      const stored = entry.class === null ? undefined : await registry.classById(entry.class)
      this.#patterns.set(pattern, entry)
      const fields = { pattern, from: known.class, to: entry.class }
      if (!stored || known.class === null) {
        log('error', fields, 'another node has changed whether channels have history: restart this one')
        continue
      }
      log('warn', fields, 'another node has changed history options for all: readers are told a gap')
      this.#adopted.set(pattern, stored)
      changed.add(pattern)
    }
    return (channel) => changed.has(mostExact([...this.#patterns.values()], channel)?.pattern ?? '')
  }
}

/** The exact name, else the longest prefix before a final `*`: as the nodes choose. */
export function mostExact(patterns: readonly PatternEntry[], channel: string): PatternEntry | undefined {
  const fits = ({ pattern }: PatternEntry) =>
    pattern === channel || (pattern.endsWith('*') && channel.startsWith(pattern.slice(0, -1)))
  const rank = ({ pattern }: PatternEntry) => (pattern === channel ? Infinity : pattern.length)
  return patterns.filter(fits).sort((a, b) => rank(b) - rank(a))[0]
}
