import { sizeOf, utf8Length } from './bytes.js'

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
  return {
    kind: header[0],
    head,
    data,
    binary,
    bytes: utf8Length(head) + (data === undefined ? 0 : 1 + sizeOf(data)),
    channel,
    compress,
    outboxes: 0,
  }
}

/*
 * Shapes of the headers, field by field: s string, n whole number from 0, o object; a capital letter may be
 * missing or null. Fields after the shape are ignored, so that a newer peer may add some.
 * The sets are closed: an unknown session frame would be miscounted, so it ends the session; and so does every unknown
 * kind, unless it starts with `~`, which says that it is a link frame.
 */
const sessionShapes: Record<string, string> = {
  m: 'sS',
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
export const sessionKinds: readonly string[] = /* @__PURE__ */ Object.keys(sessionShapes)
/** Kinds that belong to one link and are never numbered. */
export const linkKinds: readonly string[] = /* @__PURE__ */ Object.keys(linkShapes)

export const isSessionKind = (kind: string): boolean => Object.hasOwn(sessionShapes, kind)

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0

const fits: Record<string, (value: unknown) => boolean> = {
  s: (value) => typeof value === 'string',
  n: isCount,
  o: (value) => typeof value === 'object' && !Array.isArray(value),
}

/** A link frame of a newer version, which who does not know it ignores: its kind starts with `~`. */
export const isForeignKind = (kind: string): boolean => kind.startsWith('~')

/** Whether the fields fit the kind; `undefined` when the kind is not known. */
export function headerFits([kind, ...fields]: readonly unknown[]): boolean | undefined {
  if (typeof kind !== 'string') return false
  if (isForeignKind(kind)) return true
  const shapes = isSessionKind(kind) ? sessionShapes : linkShapes
  if (!Object.hasOwn(shapes, kind)) return undefined
  // History: offset, previous. Live: run, number, previous.
  const counts = kind !== 'm' ? '' : typeof fields[2] === 'string' ? 'snn' : 'nn'
  return [...(shapes[kind] + counts)].every((letter, i) => {
    const type = letter.toLowerCase()
    // A missing field in the middle is written as null, because JSON has no other word for it.
    return fields[i] == null ? type !== letter : fits[type]!(fields[i])
  })
}

/** How many numbers a session frame takes: one, except for `void`, which stands for frames that are not sent. */
export const frameCount = (header: Frame['header']): number =>
  header[0] === 'void' ? (header[1] as number) : 1
