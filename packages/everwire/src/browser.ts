import { createClient, EverwireError, longPolling, sse, webSocket } from './client.js'

const exported = { createClient, EverwireError, longPolling, sse, webSocket }

declare global {
  /** What `everwire/client` exports, for pages that load `everwire.js` by a script tag. */
  var Everwire: typeof exported
}

globalThis.Everwire = exported
