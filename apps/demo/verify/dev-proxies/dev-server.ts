/** A dev server that shows one page, whose one module makes a client. */
export interface DevServer {
  url: string
  /** Of the module; the page shows it. */
  readonly version: number
  /** Writes the next version of the module, as an editor does on save, once the server would notice. */
  edit(): Promise<void>
  close(): Promise<void>
}

/** Where its page finds what. */
export interface DevServerOptions {
  /** The server that it sends /everwire on to. */
  backendPort: number
  /** A free one, to listen to. */
  port: number
  /** An empty folder for its files. */
  folder: string
}

export const transportNames = ['websocket', 'sse', 'long-polling'] as const

/**
 * The statements of the page: a client over the transport that the address names (`?sse`), what it is doing, and what
 * came. `show` takes the text for the page.
 */
export const clientOf = (version: number): string => `
  const ways = { websocket: webSocket, sse, 'long-polling': longPolling }
  const client = createClient({ url: '/everwire', transports: [ways[location.search.slice(1)]()] })
  const room = client.channel('room:a')
  let last = 0
  const tell = () =>
    show('version ${version}, ' + (room.subscribed ? client.transport : client.state) + ', ' + last)
  client.on('state', tell)
  room.on('number', (number) => {
    last = number
    tell()
  })
  room.subscribe().then(tell, (error) => show(String(error)))`
