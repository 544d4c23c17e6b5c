import type { Heard, Wire } from './wire.js'

/** The letter that a message begins with says what it is; the server sends it back as it came. */
const kinds: Record<string, Heard> = { r: 'ready', s: 'subscribed', p: 'publication', e: 'echo' }
const byCode: Heard[] = []
for (const [letter, heard] of Object.entries(kinds)) byCode[letter.charCodeAt(0)] = heard

/** No protocol at all: the least that a server on bare ws can do. */
export const wsWire: Wire = {
  path: '/',
  subscription: 's',
  publication: (payload) => `p${payload}`,
  echo: (payload) => `e${payload}`,
  createHear: () => (message) => byCode[message[0]!],
}
