/** What the load says to a server and how it takes what it hears: a protocol without its socket. */
export interface Wire {
  /** Where the server takes WebSockets. */
  readonly path: string
  /** The first that is said, if the server does not begin. */
  readonly greeting?: string
  readonly subscription: string
  publication(payload: string): string
  echo(payload: string): string
  /** For one connection: what it counts is its own. */
  createHear(): Hear
}

/** Says what a message is; answers it where the protocol wants that. Throws when the server refused something. */
export type Hear = (message: Buffer, say: (text: string) => void) => Heard

/** Undefined is for whatever only keeps the connection going. */
export type Heard = 'ready' | 'subscribed' | 'publication' | 'echo' | undefined
