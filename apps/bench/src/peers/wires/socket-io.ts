import type { Hear, Wire } from './wire.js'

const code = (character: string) => character.charCodeAt(0)
const ping = code('2')
const message = code('4')
const connect = code('0')
const event = code('2')
const answer = code('3')
const ofSubscription = code('0')

// https://github.com/socketio/engine.io-protocol and https://github.com/socketio/socket.io-protocol: an engine.io type,
// for messages a socket.io type, for what is answered an id, then JSON.
const hear: Hear = (packet, say) => {
  if (packet[0] === ping) say('3')
  if (packet[0] !== message) return undefined
  if (packet[1] === event) return 'publication'
  if (packet[1] === answer) return packet[2] === ofSubscription ? 'subscribed' : 'echo'
  if (packet[1] === connect) return 'ready'
  throw new Error(`socket.io refused: ${packet.toString()}`)
}

export const socketIoWire: Wire = {
  path: '/socket.io/?EIO=4&transport=websocket',
  greeting: '40',
  subscription: '420["subscribe"]',
  publication: (payload) => `42["publish",${payload}]`,
  echo: (payload) => `421["echo",${payload}]`,
  createHear: () => hear,
}
