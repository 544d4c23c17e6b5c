import { utf8Length } from './bytes.js'

/** What a frame carries after its header: JSON as text or as its UTF-8 bytes, or opaque bytes when `binary`. */
export type Payload = string | Uint8Array

/** One protocol message as it was read. */
export interface Frame {
  /** `[kind, ...fields]`, checked against the shape of its kind. */
  readonly header: readonly [kind: string, ...fields: unknown[]]
  readonly data?: Payload | undefined
  /** The payload is opaque bytes, not JSON. */
  readonly binary?: boolean | undefined
}

/**
 * One protocol message ready to be written: its header is encoded once and shared by every outbox it stands in, and
 * transports cache what they make of it under the object's identity.
 */
export interface EncodedFrame {
  readonly kind: string
  /** The header as JSON, in one line. */
  readonly head: string
  readonly data?: Payload | undefined
  readonly binary?: boolean | undefined
  /** Size on the wire before framing and compression, in bytes. */
  readonly bytes: number
  /** The channel whose readers alone may see it. */
  readonly channel?: string | undefined
  /** May be compressed: it holds no secret beside what a client chose (BREACH). */
  readonly compress?: boolean | undefined
  /** Outboxes that keep it now: a budget counts a frame once, however many those are. */
  outboxes: number
}

/** Encodes a frame. `channel` marks it for removal when the session may no longer read that channel. */
export function encodeFrame(
  header: Frame['header'],
  data?: Payload,
  { binary, channel, compress }: Pick<Partial<EncodedFrame>, 'binary' | 'channel' | 'compress'> = {},
): EncodedFrame {
  const head = JSON.stringify(header)
  const size = data === undefined ? 0 : 1 + (typeof data === 'string' ? utf8Length(data) : data.length)
  return {
    kind: header[0],
    head,
    data,
    binary,
    bytes: utf8Length(head) + size,
    channel,
    compress,
    outboxes: 0,
  }
}

/*
 * Shapes of the headers, field by field: s string, n whole number from 0, o object, e string or null, i string or
 * number; a capital letter may be missing. Fields after the shape are ignored, so that a newer peer may add some.
 * The sets are closed: an unknown session frame would be miscounted, so it ends the session; and so does every unknown
 * kind, unless it starts with `~`, which says that it is a link frame.
 */
const sessionShapes: Record<string, string> = {
  m: 'sei',
  gap: 'ssSN',
  sub: 'sSN',
  unsub: 'sS',
  ack: 'nSN',
  err: 'nsSN',
  reply: 'n',
  req: 'sN',
  pub: 'ssSN',
  void: 'n',
  presence: 's',
}

const linkShapes: Record<string, string> = {
  hello: 'o',
  welcome: 'o',
  attach: 'o',
  uplink: 'o',
  refuse: 'sSN',
  ping: 'n',
  pong: 'n',
  seen: 'n',
  superseded: '',
  stale: 'N',
  drain: 'S',
  close: 'sSN',
}

/** Kinds that are numbered. */
export const sessionKinds: readonly string[] = Object.keys(sessionShapes)
/** Kinds that belong to one link and are never numbered. */
export const linkKinds: readonly string[] = Object.keys(linkShapes)

export const isSessionKind = (kind: string): boolean => Object.hasOwn(sessionShapes, kind)

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0

const fits = (type: string, value: unknown) =>
  type === 's'
    ? typeof value === 'string'
    : type === 'n'
      ? isCount(value)
      : type === 'e'
        ? typeof value === 'string' || value === null
        : type === 'i'
          ? typeof value === 'string' || isCount(value)
          : typeof value === 'object' && value !== null && !Array.isArray(value)

/** A link frame of a newer version, which who does not know it ignores: its kind starts with `~`. */
export const isForeignKind = (kind: string): boolean => kind.startsWith('~')

/** Whether the fields fit the kind; `undefined` when the kind is not known. */
export function headerFits(header: readonly unknown[]): boolean | undefined {
  const kind = header[0] as string
  if (isForeignKind(kind)) return true
  const shape = isSessionKind(kind)
    ? sessionShapes[kind]
    : Object.hasOwn(linkShapes, kind)
      ? linkShapes[kind]
      : undefined
  if (shape === undefined) return undefined
  for (let i = 0; i < shape.length; i++) {
    const letter = shape[i]!
    const type = letter.toLowerCase()
    const value = header[i + 1]
    // A missing field in the middle is written as null, because JSON has no other word for it.
    if (type !== letter && (value === undefined || value === null)) continue
    if (!fits(type, value)) return false
  }
  if (kind !== 'm') return true
  // History: offset, previous. Live: run, number, previous.
  const counts = typeof header[3] === 'string' ? [header[4], header[5]] : [header[3], header[4]]
  return counts.every(isCount)
}

/** How many numbers a session frame takes: one, except for `void`, which stands for frames that are not sent. */
export function frameCount(header: Frame['header']): number {
  return header[0] === 'void' ? (header[1] as number) : 1
}
