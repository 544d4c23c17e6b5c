import { codeInfo, encodeFrame, type EncodedFrame, type Frame, type Position } from '@everwire/core'

/** Who reads channels through the leader: one tab, its own included. */
export interface Seat {
  /** A session frame for this tab; the number is that of the leader's session. */
  frame(frame: Frame, number: number): void
}

export interface RoomHost {
  /** Asks the server; the answer is heard in its turn. */
  up(frame: EncodedFrame, heard: (answer: Frame) => void): void
  /** Nobody is in the room any more. */
  emptied(room: Room): void
}

interface Asker {
  readonly number: number
  readonly from: Position | undefined
}

/**
 * One channel, read by several tabs over one subscription. In a channel with history each reader has its own position,
 * and gets exactly what follows it: the server is asked to begin again further back when a reader needs it, and who is
 * further is not sent what it has.
 */
export class Room {
  readonly name: string
  readonly #host: RoomHost
  readonly #readers = new Map<Seat, Position | undefined>()
  readonly #waiting = new Map<Seat, Asker>()
  /** A subscription is on its way: there is one at a time, so that none cuts the replay of another short. */
  #asking = false
  /** The server has accepted. */
  #open = false
  /** How far the server's stream has come; undefined in a live channel. */
  #stand: Position | undefined
  /** Highest offset that the channel is known to have reached. */
  #reached = 0
  /** Once the stream has come here it is no replay any more. */
  #newest = Number.POSITIVE_INFINITY
  /** Whose position the server did not know: the gap that follows concerns nobody else. */
  #unknown: Set<Seat> | undefined
  #closed = false

  constructor(name: string, host: RoomHost) {
    this.name = name
    this.#host = host
  }

  subscribe(seat: Seat, number: number, from: Position | undefined): void {
    this.#remove(seat)
    this.#waiting.set(seat, { number, from })
    this.#settle()
  }

  unsubscribe(seat: Seat, number: number): void {
    this.#remove(seat)
    if (!this.#isEmpty) return answer(seat, ['ack', number])
    this.#close((reply) => answer(seat, [reply.header[0], number, ...reply.header.slice(2)]))
  }

  /** The tab is gone. */
  leave(seat: Seat): void {
    const wasHere = this.#remove(seat, true)
    if (wasHere && this.#isEmpty) this.#close(() => {})
  }

  /** A frame of this channel came from the server. */
  receive(frame: Frame, number: number): void {
    const [kind, , code] = frame.header
    if (kind === 'm' && this.#stand) this.#publication(frame, number)
    else if (kind === 'gap') this.#gap(frame, number)
    else if (kind === 'unsub') this.#revoked(code as string | undefined, frame.header)
    else for (const seat of this.#readers.keys()) seat.frame(frame, number)
  }

  get #isEmpty(): boolean {
    return this.#readers.size + this.#waiting.size === 0
  }

  #remove(seat: Seat, isGone = false): boolean {
    const asker = this.#waiting.get(seat)
    this.#unknown?.delete(seat)
    // Every operation gets an answer; nobody waits for this one any more.
    if (asker && !isGone) answer(seat, ['err', asker.number, 'outcome-unknown'])
    const wasWaiting = this.#waiting.delete(seat)
    return this.#readers.delete(seat) || wasWaiting
  }

  #close(heard: (reply: Frame) => void): void {
    this.#closed = true
    this.#host.emptied(this)
    this.#host.up(encodeFrame(['unsub', this.name]), heard)
  }

  /** Answers whom it can, and asks the server for the rest. */
  #settle(): void {
    if (this.#asking || this.#closed) return
    const stand = this.#stand
    let next: { from: Position | undefined } | undefined
    for (const [seat, { from }] of this.#waiting) {
      if (this.#open && !stand) this.#accept(seat, undefined)
      else if (stand && !from && stand.offset >= this.#newest) this.#accept(seat, stand)
      else if (stand && from?.epoch === stand.epoch && from.offset <= this.#reached) this.#accept(seat, from)
      // The furthest first: where the server knows it, it knows the others.
      else if (!next || (from && (!next.from || from.offset > next.from.offset))) next = { from }
    }
    if (!next && stand) {
      const behind = [...this.#readers.values()].filter((position) => isBehind(position, stand))
      if (behind.length > 0)
        next = { from: behind.reduce((low, position) => (position!.offset < low!.offset ? position : low)) }
    }
    if (next) this.#ask(next.from)
  }

  #accept(seat: Seat, position: Position | undefined): void {
    const { number } = this.#waiting.get(seat)!
    this.#waiting.delete(seat)
    this.#readers.set(seat, position)
    answer(seat, ['ack', number, ...fieldsOf(position)])
  }

  #ask(from: Position | undefined): void {
    this.#asking = true
    if (from && this.#stand) this.#newest = Math.max(this.#newest, this.#stand.offset)
    this.#host.up(encodeFrame(['sub', this.name, ...fieldsOf(from)]), (reply) => {
      this.#asking = false
      if (this.#closed) return
      if (reply.header[0] === 'err') this.#refused(reply)
      else this.#accepted(from, positionOf(reply, 2))
    })
  }

  #accepted(from: Position | undefined, start: Position | undefined): void {
    this.#open = true
    if (start) {
      const isKnown = !from || (from.epoch === start.epoch && from.offset === start.offset)
      this.#unknown = isKnown ? undefined : new Set()
      for (const [seat, position] of this.#readers)
        if (position && position.epoch !== start.epoch) {
          this.#readers.set(seat, start)
          if (this.#unknown) this.#unknown.add(seat)
          else seat.frame({ header: ['gap', this.name, 'epoch', ...fieldsOf(start)] }, 0)
        }
      this.#standAt(start)
      if (!from || !isKnown) this.#newest = start.offset
      for (const [seat, { from: asked }] of this.#waiting) {
        const isSame = asked?.epoch === from?.epoch && asked?.offset === from?.offset
        if (!isSame && (isKnown || !asked || asked.epoch === start.epoch)) continue
        this.#accept(seat, start)
        this.#unknown?.add(seat)
      }
    }
    // All may have been sent away meanwhile.
    if (this.#isEmpty) this.#close(() => {})
    else this.#settle()
  }

  #standAt(position: Position): void {
    if (this.#stand?.epoch !== position.epoch) {
      this.#reached = 0
      this.#newest = Number.POSITIVE_INFINITY
    }
    this.#stand = position
    this.#reached = Math.max(this.#reached, position.offset)
  }

  #refused({ header: [, , code, ...rest] }: Frame): void {
    const wasOpen = this.#open
    for (const [seat, { number }] of this.#waiting) answer(seat, ['err', number, code, ...rest])
    this.#waiting.clear()
    // What passes must not cost those who read already their subscription.
    const passes = !String(code).startsWith('app:') && codeInfo(String(code)).status >= 409
    this.#tellReaders(['unsub', this.name, passes ? 'temporary' : code])
    if (wasOpen) this.#close(() => {})
    else this.#drop()
  }

  #revoked(code: string | undefined, header: Frame['header']): void {
    this.#open = false
    this.#stand = undefined
    this.#unknown = undefined
    this.#tellReaders(header)
    // Who waits is answered by what is on its way.
    if (!this.#asking) this.#drop()
  }

  #tellReaders(header: Frame['header']): void {
    const readers = [...this.#readers.keys()]
    this.#readers.clear()
    for (const seat of readers) seat.frame({ header }, 0)
  }

  #drop(): void {
    this.#closed = true
    this.#host.emptied(this)
  }

  #publication(frame: Frame, number: number): void {
    const stand = this.#stand!
    const [kind, name, event, offset, previous, ...rest] = frame.header as [
      string,
      string,
      unknown,
      number,
      number,
    ]
    if (offset > stand.offset) this.#standAt({ epoch: stand.epoch, offset })
    for (const [seat, position] of this.#readers) {
      if (!position || position.epoch !== stand.epoch || offset <= position.offset) continue
      // It has what lies between already. A hole is passed on as it is: the channel finds it.
      const header =
        previous < position.offset
          ? ([kind, name, event, offset, position.offset, ...rest] as const)
          : undefined
      this.#readers.set(seat, { epoch: position.epoch, offset })
      seat.frame(header ? { ...frame, header } : frame, number)
    }
  }

  #gap(frame: Frame, number: number): void {
    const to = positionOf(frame, 3)
    const unknown = this.#unknown
    const before = this.#stand
    this.#unknown = undefined
    if (!to || !before) {
      for (const seat of this.#readers.keys()) seat.frame(frame, number)
      return
    }
    for (const [seat, position] of this.#readers) {
      if (!position) continue
      if (unknown ? unknown.has(seat) : position.epoch !== to.epoch || position.offset <= before.offset) {
        this.#readers.set(seat, to)
        seat.frame(frame, number)
      }
    }
    this.#standAt(to)
    // Who was further than the stream, but is not as far as it is now, may miss nothing at all: the server is asked.
    this.#settle()
  }
}

const answer = (seat: Seat, header: Frame['header']): void => seat.frame({ header }, 0)

const fieldsOf = (position: Position | undefined) => (position ? [position.epoch, position.offset] : [])

const isBehind = (position: Position | undefined, stand: Position) =>
  position?.epoch === stand.epoch && position.offset < stand.offset

function positionOf({ header }: Frame, at: number): Position | undefined {
  const [epoch, offset] = [header[at], header[at + 1]]
  return typeof epoch === 'string' && typeof offset === 'number' ? { epoch, offset } : undefined
}
