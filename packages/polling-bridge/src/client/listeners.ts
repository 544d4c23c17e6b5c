import type { Off } from '@everwire/client'

/** Calls what is the application's: what it throws is told as uncaught, and is no reason to stop. */
export function tell<Args extends unknown[]>(
  listener: ((...args: Args) => unknown) | undefined,
  ...args: Args
): void {
  try {
    listener?.(...args)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

/** Listeners by event; `on` returns its own undo. */
export function createListeners<Events extends Record<string, (...args: never[]) => void>>() {
  const entries = new Set<{ name: keyof Events; listener: (...args: never[]) => void }>()
  return {
    on<Name extends keyof Events>(name: Name, listener: Events[Name]): Off {
      const entry = { name, listener }
      entries.add(entry)
      return () => {
        entries.delete(entry)
      }
    },
    emit<Name extends keyof Events>(name: Name, ...args: Parameters<Events[Name]>): void {
      for (const entry of [...entries]) if (entry.name === name) tell(entry.listener, ...(args as never[]))
    },
  }
}
