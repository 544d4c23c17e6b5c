import { codeOf, type EncodedFrame, type Frame, type Position } from '@everwire/core'
import type { CarriedSession } from '../carrier.js'
import type { Limits } from './messages.js'
import { Room, type Seat } from './room.js'

/** One tab at the leader's desk. */
export interface DeskSeat extends Seat {
  began(limits: Limits): void
  lost(): void
}

/** Something asked of the server. */
interface Asked {
  readonly seat: DeskSeat | undefined
  readonly number: number
  heard(answer: Frame): void
}

/** Shares one session among the tabs that have a seat: maps numbers, and keeps one subscription per channel. */
export class Desk {
  readonly #seats = new Set<DeskSeat>()
  readonly #rooms = new Map<string, Room>()
  readonly #asked = new Map<number, Asked>()
  #session: CarriedSession | undefined
  #limits: Limits | undefined
  /** Hears what the server asks of the client: one tab answers, the leader's own. */
  readonly #own: DeskSeat

  constructor(own: DeskSeat) {
    this.#own = own
    this.#seats.add(own)
  }

  get limits(): Limits | undefined {
    return this.#session && this.#limits
  }
  get size(): number {
    return this.#seats.size
  }

  began(session: CarriedSession, limits: Limits): void {
    this.#session = session
    this.#limits = limits
    for (const seat of this.#seats) seat.began(limits)
  }

  lost(): void {
    // They may still take frames back.
    for (const seat of this.#seats) seat.lost()
    this.#session = undefined
    this.#asked.clear()
    this.#rooms.clear()
  }

  join(seat: DeskSeat): void {
    this.#seats.add(seat)
    if (this.limits) seat.began(this.limits)
  }

  leave(seat: DeskSeat): void {
    this.#seats.delete(seat)
    for (const room of [...this.#rooms.values()]) room.leave(seat)
  }

  /** A tab asks something. */
  take(seat: DeskSeat, number: number, frame: EncodedFrame, header: Frame['header']): void {
    if (!this.#session) return
    const [kind, name, epoch, offset] = header as [string, string, unknown, unknown]
    if (kind === 'sub') {
      const from: Position | undefined =
        typeof epoch === 'string' && typeof offset === 'number' ? { epoch, offset } : undefined
      this.#room(name).subscribe(seat, number, from)
    } else if (kind === 'unsub') {
      const room = this.#rooms.get(name)
      if (room) room.unsubscribe(seat, number)
      else seat.frame({ header: ['ack', number] }, 0)
    } else if (kind === 'pub' || kind === 'req')
      this.#up(frame, { seat, number, heard: (answer) => seat.frame(renumbered(answer, number), 0) })
    // The leader's answer to what the server asked.
    else if (seat === this.#own) this.#session.send(frame)
  }

  /** Takes a frame back that no link has taken. */
  withdraw(seat: DeskSeat, number: number): boolean {
    for (const [at, asked] of this.#asked) {
      if (asked.seat !== seat || asked.number !== number) continue
      if (!this.#session?.withdraw(at)) return false
      this.#asked.delete(at)
      return true
    }
    return false
  }

  /** A session frame came from the server. */
  frame(frame: Frame, number: number): void {
    if (!this.#session) return
    const [kind, name] = frame.header as [string, string | number]
    if (kind === 'ack' || kind === 'reply' || kind === 'err') {
      const asked = this.#asked.get(name as number)
      this.#asked.delete(name as number)
      asked?.heard(frame)
    } else if (kind === 'req') this.#own.frame(frame, number)
    else this.#rooms.get(name as string)?.receive(frame, number)
  }

  #room(name: string): Room {
    let room = this.#rooms.get(name)
    if (room) return room
    room = new Room(name, {
      up: (frame, heard) => this.#up(frame, { seat: undefined, number: 0, heard }),
      emptied: (room) => {
        if (this.#rooms.get(name) === room) this.#rooms.delete(name)
      },
    })
    this.#rooms.set(name, room)
    return room
  }

  #up(frame: EncodedFrame, asked: Asked): void {
    let number: number
    try {
      number = this.#session!.send(frame)
    } catch (error) {
      return asked.heard({ header: ['err', 0, codeOf(error), (error as Error).message] })
    }
    this.#asked.set(number, asked)
  }
}

const renumbered = (frame: Frame, number: number): Frame => {
  const [kind, , ...rest] = frame.header
  return { ...frame, header: [kind, number, ...rest] }
}

/** The header of a frame that was encoded here. */
export const headerOf = ({ head }: EncodedFrame): Frame['header'] => JSON.parse(head) as Frame['header']
