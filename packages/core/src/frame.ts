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

/** Kinds that are numbered. */
export const sessionKinds: readonly string[] =
  /* @__PURE__ */ 'm gap sub unsub ack err reply req pub void presence'.split(' ')
/** Kinds that belong to one link and are never numbered. */
export const linkKinds: readonly string[] =
  /* @__PURE__ */ 'hello welcome attach uplink refuse ping pong seen superseded stale drain close'.split(' ')

const numbered = /* @__PURE__ */ new Set(sessionKinds)
export const isSessionKind = (kind: string): boolean => numbered.has(kind)

/** A link frame of a newer version, which who does not know it ignores: its kind starts with `~`. */
export const isForeignKind = (kind: string): boolean => kind.startsWith('~')

/**
 * The sets are closed: an unknown session frame would be miscounted, so it ends the session; and so does every unknown
 * kind, unless it says itself that it is a link frame.
 */
export const isKnownKind = (kind: string): boolean =>
  isSessionKind(kind) || linkKinds.includes(kind) || isForeignKind(kind)

/** How many numbers a session frame takes: one, except for `void`, which stands for frames that are not sent. */
export const frameCount = (header: Frame['header']): number =>
  header[0] === 'void' ? (header[1] as number) : 1
