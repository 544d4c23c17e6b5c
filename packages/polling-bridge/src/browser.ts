import { createClient } from 'everwire/client'
import { createPolling } from './client.js'

const exported = { createPolling, createClient }

declare global {
  /** What `@everwire/polling-bridge/client` exports, for pages that load `polling.js` by a script tag. */
  var EverwirePolling: typeof exported
}

globalThis.EverwirePolling = exported
