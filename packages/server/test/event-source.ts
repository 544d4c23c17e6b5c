/** An event as a browser dispatches it. */
export interface ServerEvent {
  type: string
  data: string
  /** The id that holds at this event. */
  id: string
}

export interface EventParser {
  readonly events: ServerEvent[]
  readonly lastEventId: string
  readonly retryMs: number | undefined
  readonly comments: number
  push(text: string): void
}

/** Reads an event stream as the HTML standard says, from decoded text in pieces of any size. */
export function createEventParser(since = ''): EventParser {
  const events: ServerEvent[] = []
  let rest = ''
  let data: string[] = []
  let type = ''
  let idBuffer = since
  let lastEventId = since
  let retryMs: number | undefined
  let comments = 0
  const line = (text: string) => {
    if (text === '') {
      lastEventId = idBuffer
      if (data.length > 0) events.push({ type: type || 'message', data: data.join('\n'), id: lastEventId })
      data = []
      type = ''
      return
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(text)!
    if (text.startsWith(':')) comments++
    else if (field === 'data') data.push(value!)
    else if (field === 'event') type = value!
    else if (field === 'id' && !value!.includes('\0')) idBuffer = value!
    else if (field === 'retry' && /^\d+$/.test(value!)) retryMs = Number(value)
  }
  return {
    events,
    get lastEventId() {
      return lastEventId
    },
    get retryMs() {
      return retryMs
    },
    get comments() {
      return comments
    },
    push(text) {
      const lines = (rest + text).split('\n')
      rest = lines.pop()!
      for (const each of lines) line(each)
    },
  }
}

type Listener = (event: { data: string; lastEventId: string }) => void

interface Source {
  readonly readyState: number
  onmessage: Listener | undefined
  onerror: (() => void) | undefined
  addEventListener(type: string, listener: Listener): void
  close(): void
}

interface Sources {
  new (url: string): Source
  readonly CLOSED: number
  /** Resolves when the next stream of any is answered with 200. */
  next(): Promise<void>
}

/** As much of a browser's EventSource as pages here use; what is open is closed with the test. */
export function openEventSources(t: { teardown(run: () => void): void }): Sources {
  const stops = new Set<() => void>()
  t.teardown(() => {
    for (const stop of stops) stop()
  })

  return class EventSource implements Source {
    static readonly CLOSED = 2
    static #waiting: (() => void)[] = []
    readyState = 0
    onmessage: Listener | undefined
    onerror: (() => void) | undefined
    readonly #listeners = new Map<string, Listener>()
    readonly #controller = new AbortController()
    readonly #url: string
    #lastEventId = ''
    #retryMs = 3_000

    static next(): Promise<void> {
      return new Promise((resolve) => EventSource.#waiting.push(resolve))
    }

    constructor(url: string) {
      this.#url = url
      stops.add(() => this.close())
      void this.#run()
    }

    addEventListener(type: string, listener: Listener): void {
      this.#listeners.set(type, listener)
    }

    close(): void {
      this.readyState = EventSource.CLOSED
      this.#controller.abort()
    }

    async #run(): Promise<void> {
      while (this.readyState !== EventSource.CLOSED) {
        const isStream = await this.#stream().catch(() => true)
        // Who closes it hears no error.
        if (this.#controller.signal.aborted) return
        if (!isStream) this.close()
        this.onerror?.()
        if (isStream)
          await new Promise((resolve) => {
            const timer = setTimeout(resolve, this.#retryMs)
            this.#controller.signal.addEventListener('abort', () => {
              clearTimeout(timer)
              resolve(undefined)
            })
          })
      }
    }

    async #stream(): Promise<boolean> {
      const { signal } = this.#controller
      const id = this.#lastEventId
      const headers = { accept: 'text/event-stream', ...(id === '' ? {} : { 'last-event-id': id }) }
      const response = await fetch(this.#url, { headers, signal })
      if (response.status !== 200 || response.headers.get('content-type') !== 'text/event-stream')
        return false
      for (const resolve of EventSource.#waiting.splice(0)) resolve()
      const parser = createEventParser(id)
      for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
        parser.push(chunk)
        this.#lastEventId = parser.lastEventId
        this.#retryMs = parser.retryMs ?? this.#retryMs
        for (const { type, data, id } of parser.events.splice(0)) {
          const event = { data, lastEventId: id }
          if (type === 'message') this.onmessage?.(event)
          this.#listeners.get(type)?.(event)
        }
      }
      return true
    }
  }
}
