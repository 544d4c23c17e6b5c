import type { Position } from '@everwire/core'

/** What positions promise, beside what the ledger judges: it knows nothing of offsets. */
export interface Offsets {
  /** A publication was stored there. */
  acknowledged(channel: string, position: Position, publisher: string, n: number): void
  /** Somebody subscribed: everything after this position must come. */
  started(reader: string, channel: string, position: Position): void
  received(reader: string, channel: string, position: Position, publisher: string, n: number): void
  /** Somebody was told that something is missing. */
  gap(reader: string, channel: string): void
  faults(): OffsetFaults
}

export interface OffsetFaults {
  /** Stored after the position from which somebody read, and never came there, nor a gap. */
  lost: number
  /** Offsets that mean one publication here and another there, or that fall where a publisher's numbers rise. */
  misordered: number
  details: string[]
}

interface Reading {
  readonly reader: string
  readonly start: Position
  readonly came: Set<number>
}

interface Stored {
  /** What stands at each offset: publisher and number. */
  readonly contents: Map<number, string>
  readonly acknowledged: Map<string, { n: number; offset: number }[]>
}

const mostDetails = 10

export function createOffsets(): Offsets {
  const channels = new Map<string, Stored>()
  const readings = new Map<string, Reading>()
  const differing: string[] = []

  const storedIn = (channel: string, epoch: string): Stored => {
    const key = `${channel} ${epoch}`
    let stored = channels.get(key)
    if (!stored) channels.set(key, (stored = { contents: new Map(), acknowledged: new Map() }))
    return stored
  }
  const compare = (channel: string, { epoch, offset }: Position, content: string): Stored => {
    const stored = storedIn(channel, epoch)
    const known = stored.contents.get(offset)
    if (known === undefined) stored.contents.set(offset, content)
    else if (known !== content) differing.push(`${channel}: offset ${offset} is ${known}, and ${content}`)
    return stored
  }

  return {
    acknowledged(channel, position, publisher, n) {
      const { acknowledged } = compare(channel, position, `${publisher} ${n}`)
      const list = acknowledged.get(publisher) ?? []
      acknowledged.set(publisher, list)
      list.push({ n, offset: position.offset })
    },
    started(reader, channel, start) {
      readings.set(`${reader} ${channel}`, { reader, start, came: new Set() })
    },
    received(reader, channel, position, publisher, n) {
      compare(channel, position, `${publisher} ${n}`)
      readings.get(`${reader} ${channel}`)?.came.add(position.offset)
    },
    gap: (reader, channel) => void readings.delete(`${reader} ${channel}`),
    faults() {
      let lost = 0
      let misordered = differing.length
      const details = [...differing]
      for (const [key, { start, came, reader }] of readings) {
        const channel = key.slice(reader.length + 1)
        for (const list of storedIn(channel, start.epoch).acknowledged.values())
          for (const { n, offset } of list) {
            if (offset <= start.offset || came.has(offset)) continue
            lost++
            details.push(
              `${channel}: ${reader} read from ${start.offset} on, and ${offset} (number ${n}) never came`,
            )
          }
      }
      for (const [channel, { acknowledged }] of channels)
        for (const [publisher, list] of acknowledged) {
          const falls = countFalls(list)
          misordered += falls
          if (falls > 0) details.push(`${channel}: offsets of ${publisher} fall ${falls} times`)
        }
      return { lost, misordered, details: details.slice(0, mostDetails) }
    },
  }
}

/** How often offsets do not rise where the numbers do. */
function countFalls(list: readonly { n: number; offset: number }[]): number {
  const sorted = [...list].sort((a, b) => a.n - b.n)
  return sorted.filter(({ offset }, i) => i > 0 && offset <= sorted[i - 1]!.offset).length
}
