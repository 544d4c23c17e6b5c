/** What a client showed, and when. */
export interface Shown {
  client: number
  user: string
  what: 'orders' | 'inbox'
  /** Milliseconds since 1970, by the clock that all processes here share. */
  at: number
  data: readonly Item[]
}

interface Item {
  id: number
  status?: string
  updatedAt?: number
  text?: string
}

export interface Verdict {
  /** States that clients should have shown at the end, and did not. */
  missed: number
  /** States shown after newer ones. */
  backwards: number
  /** Letters shown to somebody else. */
  leaked: number
  /** Milliseconds from each change to the moment each client showed it, sorted. */
  staleness: number[]
}

const ranks = ['new', 'packed', 'shipped']

/** A change of an order is in a state that shows it, or something later of the same order. */
const key = ({ id, status }: Item) => `${id} ${status}`

/** Text of a letter to a user: whoever else shows it has seen what is not theirs. */
export const letterFor = (user: string, n: number) => `for ${user}, number ${n}`

/** Judges, as it comes, what many clients show of orders that are only added and only move on. */
export function createJudge() {
  /** By client, the newest rank of each order. */
  const seen = new Map<number, Map<number, number>>()
  const last = new Map<number, readonly Item[]>()
  /** When each change was shown first, by client. */
  const first = new Map<string, number>()
  const changes = new Map<string, Item>()
  let measuredFrom = Infinity
  let backwards = 0
  let leaked = 0

  const orders = ({ client, at, data }: Shown) => {
    const known = seen.get(client) ?? new Map<number, number>()
    seen.set(client, known)
    const isOlder =
      Math.max(0, ...data.map(({ id }) => id)) < Math.max(0, ...known.keys()) ||
      data.some(({ id, status }) => ranks.indexOf(status!) < (known.get(id) ?? -1))
    if (isOlder) backwards++
    for (const item of data) {
      const rank = ranks.indexOf(item.status!)
      known.set(item.id, Math.max(rank, known.get(item.id) ?? -1))
      changes.set(key(item), item)
      const at_ = `${client} ${key(item)}`
      if (!first.has(at_)) first.set(at_, at)
    }
    last.set(client, data)
  }

  return {
    shown(shown: Shown): void {
      if (shown.what === 'orders') return orders(shown)
      leaked += shown.data.filter(({ text }) => !text!.startsWith(`for ${shown.user},`)).length
    },
    /** Changes from now on count for the staleness. */
    measure(): void {
      measuredFrom = Date.now()
    },
    /** Whether each client shows the truth. */
    isCurrent(truth: readonly Item[], clients: number): boolean {
      return missing(truth, clients) === 0
    },
    verdict(truth: readonly Item[], clients: number): Verdict {
      const staleness: number[] = []
      for (const [name, at] of first) {
        const item = changes.get(name.slice(name.indexOf(' ') + 1))!
        if (item.updatedAt! >= measuredFrom) staleness.push(at - item.updatedAt!)
      }
      return {
        missed: missing(truth, clients),
        backwards,
        leaked,
        staleness: staleness.sort((a, b) => a - b),
      }
    },
  }

  function missing(truth: readonly Item[], clients: number): number {
    const wanted = JSON.stringify(truth.map(key))
    const current = [...last.values()].filter((data) => JSON.stringify(data.map(key)) === wanted)
    return clients - current.length
  }
}
