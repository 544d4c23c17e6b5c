import type { ClientKind, Way } from '../clients/client.js'

/** Something real between the clients and the server. */
export interface Path {
  /** How each kind of client goes along it; one that is missing cannot. */
  ways: Partial<Record<ClientKind, Way>>
  /** Breaks it for a time; resolves once it is whole again. */
  disturb?(): Promise<void>
  close(): Promise<void>
}

export interface Target {
  host: string
  port: number
}

/** The same way for every kind of client. */
export const forAll = (url: string): Path['ways'] => ({ node: { url }, chromium: { url } })
