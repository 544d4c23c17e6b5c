export type Off = () => void

/** Listeners by event name; `on` returns its own undo. */
export interface Emitter<Events extends Record<string, (...args: never[]) => void>> {
  on<Name extends keyof Events>(name: Name, listener: Events[Name]): Off
  emit<Name extends keyof Events>(name: Name, ...args: Parameters<Events[Name]>): void
}

export function createEmitter<Events extends Record<string, (...args: never[]) => void>>(): Emitter<Events> {
  const entries = new Set<{ name: keyof Events; listener: (...args: never[]) => void }>()
  return {
    on(name, listener) {
      // An entry of its own, so that the same function may listen twice and each undo takes its own.
      const entry = { name, listener }
      entries.add(entry)
      return () => entries.delete(entry)
    },
    emit(name, ...args) {
      for (const entry of [...entries]) {
        if (entry.name !== name) continue
        try {
          entry.listener(...(args as never[]))
        } catch (error) {
          // A listener that throws is the application's fault: told as uncaught, and no reason to lose a frame.
          queueMicrotask(() => {
            throw error
          })
        }
      }
    },
  }
}
