/** Why a client is closed that nobody closed: what is kept over reloads stays. */
export const pageLeft = 'pagehide'

/** Who hears what the browser says of the page and its network. */
export interface PageListener {
  /** The network may have changed, or the page has slept: look whether the link lives. */
  look(isAnotherNetwork: boolean): void
  /** The page is left: for good, or kept to be shown again. */
  hide(isKept: boolean): void
  /** A page that was kept is shown again. */
  show(): void
}

type Listener = (event: { persisted?: boolean }) => void
interface Target {
  addEventListener?(type: string, listener: Listener, options: { signal: AbortSignal }): void
}

/** Listens to the browser, where there is one, until the signal says that it is enough. */
export function onPageEvents(signal: AbortSignal, { look, hide, show }: PageListener): void {
  const page = globalThis as Target & { navigator?: { connection?: Target } }
  const on = (types: string, listener: Listener, target: Target | undefined = page) => {
    for (const type of types.split(' ')) target.addEventListener?.(type, listener, { signal })
  }
  const { connection } = page.navigator ?? {}
  on('offline visibilitychange resume', () => look(false))
  on('online', () => look(true))
  if (connection) on('change', () => look(true), connection)
  on('pagehide', ({ persisted }) => hide(!!persisted))
  on('pageshow', ({ persisted }) => persisted && show())
}
