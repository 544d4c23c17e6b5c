import { nats } from '@everwire/bus-nats'
import { memoryBus } from 'everwire/server'

/** What joins the servers: NATS where NATS_URL names it, else nothing does. */
export const bus = (url = process.env.NATS_URL) => (url ? nats({ servers: url.split(',') }) : memoryBus())

/** What operators switch with: OPERATOR_KEY, of 32 characters or more. */
export const serverKeys = (key = process.env.OPERATOR_KEY) => (key ? [key] : [])
