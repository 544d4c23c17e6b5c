export type Off = () => void

/** Listeners by event name; `on` returns its own undo. */
export class Emitter<Events extends Record<string, (...args: never[]) => void>> {
  readonly #listeners = new Map<keyof Events, Set<(...args: never[]) => void>>()

  on<Name extends keyof Events>(name: Name, listener: Events[Name]): Off {
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners)
    // Wrapped, so that the same function may listen twice and each undo takes its own.
    const entry = (...args: never[]) => listener(...args)
    listeners.add(entry)
    return () => listeners.delete(entry)
  }

  emit<Name extends keyof Events>(name: Name, ...args: Parameters<Events[Name]>): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(...(args as never[]))
      } catch (error) {
        // A listener that throws is the application's fault: told as uncaught, and no reason to lose a frame.
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}
