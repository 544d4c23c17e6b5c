/** Everything random of a run, from its seed. */
export interface Random {
  /** 0 ≤ x < 1. */
  next(): number
  /** A number from `low` up to `high`. */
  between(low: number, high: number): number
  pick<T>(from: readonly T[]): T
  shuffled<T>(from: readonly T[]): T[]
  /** Another sequence, of the same seed and this name: who takes from it does not change what others get. */
  fork(name: string): Random
}

/** Mulberry32, which is small and good enough to choose by. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return {
    next,
    between: (low, high) => low + next() * (high - low),
    pick: (from) => from[below(from.length)]!,
    shuffled(from) {
      const all = [...from]
      for (let i = all.length - 1; i > 0; i--) {
        const j = below(i + 1)
        ;[all[i], all[j]] = [all[j]!, all[i]!]
      }
      return all
    },
    fork: (name) =>
      createRandom([...name].reduce((hash, c) => Math.imul(hash ^ c.charCodeAt(0), 0x01000193), seed)),
  }
}
