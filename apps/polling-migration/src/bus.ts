import { nats } from '@everwire/bus-nats'
import { memoryBus } from 'everwire/server'

/** What joins the servers: NATS where NATS_URL names it, else nothing does. */
export const bus = (url = process.env.NATS_URL) => (url ? nats({ servers: url.split(',') }) : memoryBus())
