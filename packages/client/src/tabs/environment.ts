/** What tabs use of `navigator.locks`. */
export interface TabLocks {
  request(
    name: string,
    options: { signal?: AbortSignal; steal?: boolean },
    granted: () => Promise<void> | undefined,
  ): Promise<unknown>
}

/** What tabs use of a `BroadcastChannel`. */
export interface TabChannel {
  postMessage(message: unknown): void
  onmessage: ((event: { data: unknown }) => void) | null
  close(): void
}

/** What tabs use of a browser; for tests, and for runtimes that have it elsewhere. */
export interface TabEnvironment {
  locks: TabLocks
  /** Opens the broadcast channel of that name. */
  channel(name: string): TabChannel
  /** Where `pagehide`, `pageshow`, `freeze` and `resume` are heard; missing where pages do not come and go. */
  page?: Pick<EventTarget, 'addEventListener' | 'removeEventListener'>
}

/** The browser's own; undefined where something is missing, as on pages without a secure context. */
export function browserEnvironment(): TabEnvironment | undefined {
  const { navigator, BroadcastChannel } = globalThis as {
    navigator?: { locks?: TabLocks }
    BroadcastChannel?: new (name: string) => TabChannel
  }
  const locks = navigator?.locks
  if (!locks || !BroadcastChannel) return undefined
  return {
    locks,
    channel: (name) => new BroadcastChannel(name),
    ...('addEventListener' in globalThis ? { page: globalThis as unknown as EventTarget } : {}),
  }
}

export interface LockEvents {
  granted(): void
  /** It was taken away; or it cannot be had at all. */
  failed?(wasStolen: boolean): void
}

/** Asks for a lock and keeps it. Returns what releases it, or gives the request up; safe to call twice. */
export function holdLock(
  locks: TabLocks,
  name: string,
  { granted, failed }: LockEvents,
  { steal = false }: { steal?: boolean } = {},
): () => void {
  const controller = new AbortController()
  let isOver = false
  let release = () => {}
  const released = new Promise<void>((resolve) => (release = resolve))
  // A request that steals must not have a signal.
  locks
    .request(name, steal ? { steal } : { signal: controller.signal }, () => {
      if (isOver) return undefined
      granted()
      return released
    })
    .catch((error: unknown) => {
      if (isOver) return
      isOver = true
      // A page that was frozen may hear that it was robbed before it heard that it had anything.
      failed?.((error as Error).name === 'AbortError')
    })
  return () => {
    isOver = true
    release()
    controller.abort()
  }
}
