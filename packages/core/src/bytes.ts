/** Created when it is first needed: it is not cheap, and some runtimes lack it, and get by without. */
const lazy = <T>(create: () => T): (() => T) => {
  let created: T | undefined
  return () => (created ??= create())
}
// React Native has none before 0.85.
const strict = /* @__PURE__ */ lazy(() =>
  typeof TextDecoder === 'function'
    ? new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    : { decode: percentDecode },
)
const percentDecode = (bytes: Uint8Array) =>
  decodeURIComponent(Array.from(bytes, (byte) => `%${(byte + 256).toString(16).slice(1)}`).join(''))

export const utf8 = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text)

/** @throws TypeError or URIError when the bytes are not UTF-8 */
export const fromUtf8 = (bytes: Uint8Array): string => strict().decode(bytes)

/** Bytes that `text` takes in UTF-8. Lone surrogates count 3, as the encoder replaces them. */
export function utf8Length(text: string): number {
  let bytes = 0
  for (let i = 0; i < text.length; i++, bytes++) {
    const point = text.codePointAt(i)!
    if (point > 0x7f) bytes += point > 0x7ff ? 2 : 1
    // A pair of surrogates: two units, four bytes.
    if (point > 0xffff) {
      bytes++
      i++
    }
  }
  return bytes
}

/** Bytes of a text or of bytes. */
export const sizeOf = (data: string | Uint8Array): number =>
  typeof data === 'string' ? utf8Length(data) : data.length

/** Standard base64 with padding (RFC 4648 §4). */
export function toBase64(bytes: Uint8Array): string {
  let binary = ''
  // Function arguments are bounded by the stack, so in chunks.
  for (let i = 0; i < bytes.length; i += 0x2000)
    binary += String.fromCharCode(...bytes.subarray(i, i + 0x2000))
  return btoa(binary)
}

/** @throws when `text` is not base64 */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (unit) => unit.charCodeAt(0))
}

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'

/**
 * `length` characters of lower-case base32 (RFC 4648 §6), five random bits each. Where the runtime has no `crypto` they
 * can be guessed: what a client names so need only differ, and servers have it.
 */
export function randomBase32(length: number): string {
  const random = globalThis.crypto?.getRandomValues(new Uint8Array(length))
  let text = ''
  for (let i = 0; i < length; i++) text += alphabet[(random ? random[i]! : Math.random() * 32) & 31]
  return text
}
