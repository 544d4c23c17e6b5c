/** Runs what has the same key one after the other, in order of arrival; different keys side by side. */
export class Lanes {
  readonly #tails = new Map<string, Promise<void>>()

  /** Whether anything of that key is under way. */
  has(key: string): boolean {
    return this.#tails.has(key)
  }

  run<Result>(key: string, run: () => Promise<Result>): Promise<Result> {
    const turn = (this.#tails.get(key) ?? Promise.resolve()).then(run)
    const settled = turn.then(
      () => {},
      () => {},
    )
    this.#tails.set(key, settled)
    void settled.then(() => {
      if (this.#tails.get(key) === settled) this.#tails.delete(key)
    })
    return turn
  }
}
