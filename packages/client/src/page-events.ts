/** Who hears what the browser says of the page and its network. */
export interface PageListener {
  /** The network may have changed, or the page has slept: look whether the link lives. */
  look(isAnotherNetwork: boolean): void
  /** The page is left: for good, or kept to be shown again. */
  hide(isKept: boolean): void
  /** A page that was kept is shown again. */
  show(): void
}

interface Target {
  addEventListener?(type: string, listener: (event: { persisted?: boolean }) => void): void
  removeEventListener?(type: string, listener: (event: { persisted?: boolean }) => void): void
}

/** Listens to the browser, where there is one. Returns its own undo. */
export function onPageEvents({ look, hide, show }: PageListener): () => void {
  const page = globalThis as Target & { navigator?: { connection?: Target } }
  const undo: (() => void)[] = []
  const on = (
    target: Target | undefined,
    types: string,
    listener: (event: { persisted?: boolean }) => void,
  ) => {
    for (const type of target?.addEventListener ? types.split(' ') : []) {
      target!.addEventListener!(type, listener)
      undo.push(() => target!.removeEventListener?.(type, listener))
    }
  }
  on(page, 'offline visibilitychange resume', () => look(false))
  on(page, 'online', () => look(true))
  on(page.navigator?.connection, 'change', () => look(true))
  on(page, 'pagehide', ({ persisted }) => hide(persisted === true))
  on(page, 'pageshow', ({ persisted }) => persisted && show())
  return () => {
    for (const off of undo) off()
  }
}
