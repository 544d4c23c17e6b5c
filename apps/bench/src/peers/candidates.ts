import { everwireWire } from './wires/everwire.js'
import { socketIoWire } from './wires/socket-io.js'
import type { Wire } from './wires/wire.js'
import { wsWire } from './wires/ws.js'

export interface Candidate {
  readonly name: string
  /** Its program in `servers`. */
  readonly server: string
  readonly wire: Wire
  /** What joins two nodes of it. */
  readonly bus: 'nats' | 'redis'
}

/** The first is what the others are compared with. */
export const candidates: readonly Candidate[] = [
  { name: 'ws', server: 'ws', wire: wsWire, bus: 'nats' },
  { name: 'socket.io', server: 'socket-io', wire: socketIoWire, bus: 'redis' },
  { name: 'Everwire', server: 'everwire', wire: everwireWire, bus: 'nats' },
]
