import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'
import { EverwireError } from '@everwire/core'
import type { Identity } from '../client-session.js'

export interface TicketsOptions {
  /** Secret that nodes share when a ticket of one must serve at the others. */
  key: string
  /** How long a ticket may wait to be used. */
  ticketMs: number
  /** How long what a ticket opened may be resumed. */
  streamMs: number
  /** How long after its ticket's use, or its last resumption, a stream may come back. */
  resumeMs: number
  /** Wall-clock time, because other nodes read what this one writes. */
  wallClock(): number
}

export interface Ticket {
  ticket: string
  expiresInMs: number
}

export interface Admission {
  identity: Identity
  /** Proves to any node with the key that a stream was opened with this ticket, and may be resumed. */
  grant: string
  /** When neither is good for anything any more, in milliseconds since 1970. */
  endsAt: number
  /** It was refused for a passing reason: the ticket may be used again. */
  giveBack(): void
}

/** What stands in a ticket, encrypted: nothing of a user belongs in a URL. */
interface Content {
  u: string | null
  c?: unknown
  /** Milliseconds since 1970. */
  e?: number | undefined
  /** The one channel that it is for. */
  ch?: string | undefined
  /** When it was made. */
  at: number
}

const idBytes = 16
const tagBytes = 16
const maxTicketLength = 4_096
const maxUsed = 100_000
/** Clocks of nodes may differ by this much. */
const skewMs = 5_000
const ticketPattern = /^[\w-]+$/
const grantPattern = /^([0-9a-z]{1,10})\.([\w-]{22})$/

/**
 * Tickets for clients that cannot send a header, as EventSource: each opens one stream. The address of a stream that is
 * to be resumed is the same, with the used ticket in it; the reader then shows the grant, which it got with the stream
 * and brings back in a header. So an address alone, as it stands in logs, opens nothing.
 */
export class Tickets {
  readonly #options: TicketsOptions
  readonly #secret: Buffer
  readonly #grantSecret: Buffer
  /** Tickets that were used here and have not expired, oldest use first, with the time when they have. */
  readonly #used = new Map<string, number>()

  constructor(options: TicketsOptions) {
    this.#options = options
    this.#secret = derive(options.key, '', 'everwire ticket', 32)
    this.#grantSecret = derive(options.key, '', 'everwire grant', 32)
  }

  /** @throws EverwireError `frame-too-large` when the claims are too large for a URL */
  issue({ userId, claims, expiresAt }: Identity, channel: string | undefined): Ticket {
    const { ticketMs, wallClock } = this.#options
    const content: Content = { u: userId, c: claims, e: expiresAt, ch: channel, at: wallClock() }
    const id = randomBytes(idBytes)
    const { key, nonce } = this.#cipher(id)
    const cipher = createCipheriv('aes-256-gcm', key, nonce)
    const body = Buffer.concat([cipher.update(JSON.stringify(content)), cipher.final()])
    const ticket = Buffer.concat([id, cipher.getAuthTag(), body]).toString('base64url')
    if (ticket.length > maxTicketLength)
      throw new EverwireError('frame-too-large', 'the claims are too large for a ticket')
    return { ticket, expiresInMs: ticketMs }
  }

  /** @throws EverwireError `ticket-refused`, `token-expired`, `too-many-streams` */
  admit(ticket: string, channel: string, grant: string | undefined): Admission {
    const { ticketMs, streamMs, resumeMs, wallClock } = this.#options
    const { id, content } = this.#open(ticket)
    const now = wallClock()
    const { u: userId, c: claims, e: expiresAt, ch, at } = content
    if (ch !== undefined && ch !== channel) throw refused('it is for another channel')
    if (expiresAt !== undefined && expiresAt <= now)
      throw new EverwireError('token-expired', 'the token has expired that the ticket was made for')
    const endsAt = Math.min(at + streamMs, expiresAt ?? Infinity)
    let giveBack = () => {}
    if (grant === undefined) {
      if (now > at + ticketMs || now < at - skewMs) throw refused('it has expired')
      this.#use(id, now)
      giveBack = () => this.#used.delete(id)
    } else if (now >= endsAt || !this.#isGranted(id, channel, grant, now))
      throw refused('it was used, and what it opened cannot be resumed any more')
    return {
      identity: { userId, claims, ...(expiresAt === undefined ? {} : { expiresAt }) },
      grant: this.#grant(id, channel, Math.min(now + resumeMs, endsAt)),
      endsAt,
      giveBack,
    }
  }

  #use(id: string, now: number): void {
    for (const [old, until] of this.#used) {
      if (until >= now) break
      this.#used.delete(old)
    }
    if (this.#used.has(id)) throw refused('it was used before')
    if (this.#used.size >= maxUsed) throw new EverwireError('too-many-streams', 'too many tickets at a time')
    // Longer than it is valid, by what the clock of the node that made it may be ahead.
    this.#used.set(id, now + this.#options.ticketMs + skewMs)
  }

  #open(ticket: string): { id: string; content: Content } {
    if (ticket.length > maxTicketLength || !ticketPattern.test(ticket)) throw refused('it is not a ticket')
    const bytes = Buffer.from(ticket, 'base64url')
    const id = bytes.subarray(0, idBytes)
    try {
      const { key, nonce } = this.#cipher(id)
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
      decipher.setAuthTag(bytes.subarray(idBytes, idBytes + tagBytes))
      const body = Buffer.concat([decipher.update(bytes.subarray(idBytes + tagBytes)), decipher.final()])
      return { id: id.toString('base64url'), content: JSON.parse(body.toString()) as Content }
    } catch {
      throw refused('it is not one of this server')
    }
  }

  /** A key of its own for each ticket: random nonces under one key would repeat some day. */
  #cipher(id: Buffer): { key: Buffer; nonce: Buffer } {
    const bytes = derive(this.#secret, id, 'everwire ticket key', 44)
    return { key: bytes.subarray(0, 32), nonce: bytes.subarray(32) }
  }

  #grant(id: string, channel: string, until: number): string {
    const time = Math.floor(until).toString(36)
    const mac = createHmac('sha256', this.#grantSecret)
      .update(JSON.stringify([id, channel, time]))
      .digest()
    return `${time}.${mac.subarray(0, 16).toString('base64url')}`
  }

  #isGranted(id: string, channel: string, grant: string, now: number): boolean {
    const [, time] = grantPattern.exec(grant) ?? []
    if (time === undefined) return false
    const until = Number.parseInt(time, 36)
    const own = Buffer.from(this.#grant(id, channel, until))
    const given = Buffer.from(grant)
    return own.length === given.length && timingSafeEqual(own, given) && now <= until
  }
}

const refused = (why: string) => new EverwireError('ticket-refused', `the ticket is refused: ${why}`)

const derive = (key: string | Buffer, salt: string | Buffer, info: string, length: number): Buffer =>
  Buffer.from(hkdfSync('sha256', key, salt, info, length))
