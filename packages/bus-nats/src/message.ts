import { isUtf8 } from 'node:buffer'
import { EverwireError, utf8, utf8Length, type Message } from '@everwire/core'
import { headers, type MsgHdrs } from '@nats-io/transport-node'

/*
 * A publication as a NATS message: the payload is the data, and one header, `Everwire`, is a JSON object with the
 * rest. A program that is no node may leave the header away, or write `{"event":"price"}`.
 */

const header = 'Everwire'

interface Fields {
  event?: unknown
  /** What the payload is: checked JSON, opaque bytes, or nothing. Missing in what a foreign program published. */
  data?: unknown
  userId?: unknown
  except?: unknown
  /** Publisher run, number, previous number. */
  live?: unknown
}

/** What `live` says of a publication's place in its publisher's run. */
export interface LiveNumbers {
  run: string
  number: number
  previous: number
}

const nothing = new Uint8Array()

/** What a message needs on the wire besides payload and our header: names, ids, and what the driver adds. */
const overheadBytes = 512

/** @throws EverwireError `bad-payload` when it is larger than the servers take */
export function encodeMessage(
  { event, data, binary, userId, except }: Message,
  maxBytes: number,
  live?: LiveNumbers,
): { payload: Uint8Array; headers: MsgHdrs } {
  const fields: Fields = {
    event,
    data: data === undefined ? 'none' : binary ? 'binary' : 'json',
    userId,
    except,
    live: live && [live.run, live.number, live.previous],
  }
  const text = JSON.stringify(fields)
  const payload = data === undefined ? nothing : typeof data === 'string' ? utf8(data) : data
  const bytes = payload.length + utf8Length(text) + overheadBytes
  if (bytes > maxBytes)
    throw new EverwireError('bad-payload', `${bytes} bytes are more than the ${maxBytes} that NATS takes`)
  const hdrs = headers()
  hdrs.set(header, text)
  return { payload, headers: hdrs }
}

/** What a message on the wire of NATS has, however it came. */
export interface RawMessage {
  readonly data: Uint8Array
  readonly headers?: MsgHdrs | undefined
}

/**
 * The last value of a header; undefined when there is none, or when the headers cannot be read at all: the driver reads
 * them late, and throws. The last, because servers append theirs to what a publisher made up.
 */
export function headerOf(message: RawMessage, name: string): string | undefined {
  try {
    return message.headers?.last(name) || undefined
  } catch {
    return undefined
  }
}

/**
 * Reads a publication, whoever made it. The payload is copied once, exactly sized: a view would keep the driver's whole
 * chunk alive. What only nodes can have sent is `trusted` to be the JSON that it says; elsewhere that is checked, once,
 * and what is none stays opaque bytes.
 */
export function decodeMessage(
  raw: RawMessage,
  trusted = false,
): { message: Message; live: LiveNumbers | undefined } {
  const fields = readFields(headerOf(raw, header))
  const { kind, payload } = payloadOf(fields.data, raw.data, trusted)
  const message = {
    event: typeof fields.event === 'string' && fields.event !== '' ? fields.event : 'message',
    data: payload,
    binary: kind === 'binary' ? true : undefined,
    userId: typeof fields.userId === 'string' ? fields.userId : undefined,
    except: typeof fields.except === 'string' ? fields.except : undefined,
  }
  return { message, live: readLive(fields.live) }
}

function payloadOf(
  kind: unknown,
  data: Uint8Array,
  trusted: boolean,
): { kind: string; payload: Uint8Array | undefined } {
  if (kind === 'none' || (data.length === 0 && kind !== 'binary')) return { kind: 'none', payload: undefined }
  const payload = new Uint8Array(data)
  if (kind === 'binary') return { kind, payload }
  const isIt = trusted && kind === 'json' ? isUtf8(payload) : isJson(payload)
  return { kind: isIt ? 'json' : 'binary', payload }
}

function isJson(payload: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload))
    return true
  } catch {
    return false
  }
}

function readFields(text: string | undefined): Fields {
  if (!text) return {}
  try {
    const fields: unknown = JSON.parse(text)
    return typeof fields === 'object' && fields !== null ? fields : {}
  } catch {
    return {}
  }
}

function readLive(live: unknown): LiveNumbers | undefined {
  if (!Array.isArray(live)) return undefined
  const [run, number, previous] = live as unknown[]
  const fits = typeof run === 'string' && Number.isSafeInteger(number) && Number.isSafeInteger(previous)
  return fits ? { run, number: number as number, previous: previous as number } : undefined
}
