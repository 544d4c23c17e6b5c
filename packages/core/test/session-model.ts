import assert from 'node:assert/strict'
import fc from 'fast-check'
import { createLinkPair, type LinkPair } from '../../testkit/src/link-pair.js'
import type * as attachModule from '../src/attach.js'
import { decode } from '../src/codec.js'
import { encodeFrame, isSessionKind, type EncodedFrame, type Frame } from '../src/frame.js'
import type { Link } from '../src/link.js'
import type { Outbox } from '../src/outbox.js'
import type * as ownerModule from '../src/owner-session.js'
import type * as sessionModule from '../src/session.js'
import type { Session } from '../src/session.js'

/*
 * Two sessions, a hostile network between them, and what must hold in every state. The client numbers its attempts;
 * the owner judges and binds; a link is a `stream` (both ways), `http` (frames up go in numbered requests) or a
 * `poll` (the same, and an answer ends after its first batch). Nothing moves by itself: a schedule of steps says what
 * happens next, and ends with a good network.
 */

/** The code under test; mutants hand in a broken one. */
export interface Core {
  createOwnerSession: typeof ownerModule.createOwnerSession
  createSession: typeof sessionModule.createSession
  judgeAttach: typeof attachModule.judgeAttach
}

export interface Config {
  ackFrames: number
  outboxFrames: number
  outboxBytes: number
  /** Old links are closed by the client when a newer one is welcomed, or left alone. */
  tidy: boolean
  /** Frames so large that each is a batch of its own: a link which blocks stops in the middle of a replay. */
  large: boolean
}

const steps = {
  sendDown: 8,
  sendUp: 8,
  burstDown: 2,
  flush: 8,
  deliverUp: 8,
  deliverDown: 8,
  attach: 6,
  relink: 4,
  nextPoll: 3,
  doubleAttach: 3,
  imposter: 1,
  cut: 3,
  noticeClient: 2,
  noticeOwner: 2,
  post: 4,
  deliverPost: 5,
  doublePost: 1,
  losePost: 1,
  deliverAnswer: 4,
  pingDown: 2,
  pingUp: 2,
  block: 2,
  unblock: 2,
  erase: 2,
  withdraw: 2,
  noise: 2,
  drainedLate: 1,
  settle: 2,
} as const
type Kind = keyof typeof steps

export interface Step {
  kind: Kind
  /** Which of the links, posts, … that there are. */
  at: number
  /** How many, how large. */
  size: number
}

export const schedule: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    kind: fc.oneof(
      ...Object.entries(steps).map(([kind, weight]) => ({ weight, arbitrary: fc.constant(kind as Kind) })),
    ),
    at: fc.nat(1000),
    size: fc.nat(40),
  }),
  { maxLength: 120, size: 'max' },
)

/** Outboxes so large that nothing is ever given up: then nothing may end. */
export const roomy: fc.Arbitrary<Config> = fc.record({
  ackFrames: fc.constantFrom(1, 3, 250),
  outboxFrames: fc.constant(100_000),
  outboxBytes: fc.constant(100_000_000),
  tidy: fc.boolean(),
  large: fc.constant(false),
})

export const tight: fc.Arbitrary<Config> = fc.record({
  ackFrames: fc.constantFrom(1, 3, 250),
  outboxFrames: fc.constantFrom(1, 4, 8),
  outboxBytes: fc.constantFrom(60, 400, 100_000_000, 100_000_000),
  tidy: fc.boolean(),
  large: fc.constantFrom(false, false, true),
})

/** Links that block in the middle of a replay, and outboxes that are full meanwhile. */
export const replaying: fc.Arbitrary<Config> = fc.record({
  ackFrames: fc.constant(250),
  outboxFrames: fc.constantFrom(6, 100_000),
  outboxBytes: fc.constant(100_000_000),
  tidy: fc.boolean(),
  large: fc.constant(true),
})

/** One direction as the test knows it, from outside the session. */
interface Truth {
  /** Content by number. */
  content: string[]
  /** Numbers that must not be written any more. */
  erased: Set<number>
  /** Numbers taken back before they were written: must never arrive. */
  withdrawn: Set<number>
  /** Highest number that any link was given. */
  written: number
  /** Number of the frame that the receiver's application saw last. */
  seen: number
  /** Content of what the receiver's application saw. */
  heard: string[]
}

interface Request {
  gen: number
  place: string
  poll: number
  cursor: number
  acked: number
}

interface Attempt extends Request {
  style: 'stream' | 'http' | 'poll'
  pair: LinkPair
  /** The client has forgotten this connection; what the owner answers there goes nowhere. */
  ghost: boolean
  client: Recorder
  owner: Recorder
  welcomed: boolean
  /** Frames that the client's link was given, with their numbers, to be posted. */
  outgoing: { number: number; frame: EncodedFrame }[]
}

interface Recorder {
  link: Link
  /** Number of the next session frame that the session writes here. */
  next: number
  blocked: boolean
  written: number
}

interface Post {
  first: number
  frames: EncodedFrame[]
}

const noiseKinds: Frame['header'][] = [
  ['hello', {}],
  ['uplink', {}],
  ['drain'],
  ['stale'],
  ['superseded'],
  ['refuse', 'temporary'],
]

const newTruth = (): Truth => ({
  content: [''],
  erased: new Set(),
  withdrawn: new Set(),
  written: 0,
  seen: 0,
  heard: [],
})

/** The schedule came to a legal end before its last step. */
class LegalEnd extends Error {}

/** Frames that wait or may be replayed. */
const kept = ({ outbox }: { outbox: Outbox }) => outbox.sent - outbox.base + 1

export function createWorld({ createOwnerSession, createSession, judgeAttach }: Core, config: Config) {
  const tasks: (() => void)[] = []
  const later = (run: () => void) => void tasks.push(run)
  const attempts: Attempt[] = []
  const posts: Post[] = []
  const answers: number[] = []
  const down = newTruth()
  const up = newTruth()
  const spacious = config.outboxFrames >= 100_000
  let state = { gen: 0, place: '', poll: -1 }
  let gen = 0
  let welcome = { gen: 0, poll: -1 }
  let current: Attempt | undefined
  let marks = { ownerReceived: 0, clientReceived: 0, ownerAcked: 0, clientAcked: 0, gen: 0 }

  const hear = (truth: Truth) => (frame: Frame, number: number) => {
    const content = frame.data as string
    assert.ok(number > truth.seen, `frame ${number} came after ${truth.seen}: doubled or out of order`)
    for (let skipped = truth.seen + 1; skipped < number; skipped++)
      assert.ok(truth.erased.has(skipped), `frame ${skipped} was passed over in silence before ${number}`)
    assert.equal(content, truth.content[number], `content of number ${number}`)
    assert.ok(!truth.withdrawn.has(number), `frame ${number} was taken back before it was written, and came`)
    truth.seen = number
    truth.heard.push(content)
  }
  let bound: Attempt | undefined
  const mayGiveUp = () => {
    if (bound)
      assert.ok(
        owner.outbox.base <= Math.max(owner.acked + 1, bound.owner.next),
        `frames up to ${owner.outbox.base - 1} were given up, the link has yet to bring ${bound.owner.next}`,
      )
  }
  const ended = (who: 'client' | 'owner') => (code: string, reason: string) => {
    if (!spacious && who === 'owner' && code === 'slow-consumer') {
      mayGiveUp()
      throw new LegalEnd(code)
    }
    assert.fail(`the ${who}'s session ended: ${code} ${reason}`)
  }
  const owner = createOwnerSession({ ...config, schedule: later }, { frame: hear(up), ended: ended('owner') })
  const clientBase = createSession(
    { ...config, schedule: later },
    { frame: hear(down), ended: ended('client') },
  )
  const { outbox } = clientBase
  const client = Object.assign(clientBase, {
    unwritten: () => outbox.sent - clientBase.writtenHere,
  })

  /** A link that checks each write of the session that owns it. */
  const record = (
    inner: Link,
    session: () => Session,
    truth: Truth,
    take?: Attempt['outgoing'],
    onBatch?: () => void,
  ) => {
    const recorder: Recorder = {
      next: 1,
      blocked: false,
      written: 0,
      link: {
        get transport() {
          return inner.transport
        },
        get bufferedBytes() {
          return inner.bufferedBytes
        },
        close: (code, reason) => inner.close(code, reason),
        send(frames) {
          assert.ok(frames.length > 0 && recorder.written < 100_000, 'a link is written to without end')
          let batch = false
          for (const frame of frames) {
            if (!isSessionKind(frame.kind)) {
              if (take) take.push({ number: recorder.next, frame })
              else inner.send([frame])
              continue
            }
            batch = true
            assert.equal(
              session().link,
              recorder.link,
              'a session frame was written to a link that is not bound',
            )
            if (frame.kind === 'void') {
              const count = JSON.parse(frame.head)[1] as number
              for (let number = recorder.next; number < recorder.next + count; number++)
                assert.ok(
                  truth.erased.has(number) || number <= session().acked,
                  `frame ${number} was written as void, though it was neither erased nor confirmed`,
                )
              if (take) take.push({ number: recorder.next, frame })
              recorder.next += count
            } else {
              const number = recorder.next++
              truth.written = Math.max(truth.written, number)
              assert.equal(frame.data, truth.content[number], `what was written as number ${number}`)
              assert.ok(!truth.erased.has(number), `frame ${number} was written after it was erased`)
              if (take) take.push({ number, frame })
            }
            recorder.written++
            if (!take) inner.send([frame])
          }
          if (!batch) return true
          assert.ok(!recorder.blocked, 'frames were written to a link that takes no more')
          const open = take ? true : inner.send([]) // asks only whether it takes more
          recorder.blocked = !open
          if (onBatch) {
            onBatch()
            recorder.blocked = true
            return false
          }
          return open
        },
      },
    }
    return recorder
  }

  const observe = () =>
    [owner, client].map((session) => ({
      received: session.received,
      sent: session.sent,
      acked: session.acked,
      base: session.outbox.base,
      unwritten: session.unwritten(),
      outboxFrames: kept(session),
      outboxBytes: session.outbox.bytes,
      link: session.link,
      ended: session.ended,
    }))
  const everything = () => ({
    sessions: observe(),
    state: { ...state },
    written: attempts.map((a) => [a.owner.written, a.client.written]),
  })
  const unchangedBy = (run: () => void, why: string) => {
    const before = everything()
    run()
    assert.deepEqual(everything(), before, why)
  }

  // The owner's side of a link.
  const judge = (attempt: Attempt, request: Request) => {
    let verdict: ReturnType<typeof judgeAttach> | undefined
    unchangedBy(() => (verdict = judgeAttach(owner, state, request)), 'judging an attach changes nothing')
    const { pair } = attempt
    const mustBeStale =
      request.gen < state.gen ||
      (request.gen === state.gen && (request.place !== state.place || request.poll < state.poll))
    assert.equal(
      verdict === 'stale',
      mustBeStale,
      `attach ${JSON.stringify(request)} at ${JSON.stringify(state)} is ${verdict}`,
    )
    if (verdict === 'stale') {
      unchangedBy(() => {
        attempt.owner.link.send([encodeFrame(['stale'])])
        pair.server.close('stale')
      }, 'a stale attach changes nothing')
      return
    }
    if (verdict === 'lost') {
      assert.ok(
        !spacious && Math.max(request.cursor, owner.acked) + 1 < owner.outbox.base,
        `attach at ${request.cursor} is lost, though the owner has everything from ${owner.outbox.base}, confirmed ${owner.acked}`,
      )
      throw new LegalEnd('lost')
    }
    assert.equal(verdict, request.gen === state.gen ? 'repeat' : 'accept')
    state = { gen: request.gen, place: request.place, poll: request.poll }
    const old = owner.link
    owner.acknowledge(request.cursor)
    attempt.owner.next = request.cursor + 1
    bound = attempt
    attempt.owner.link.send([encodeFrame(['welcome', { from: request.cursor + 1, applied: owner.received }])])
    owner.bind(attempt.owner.link, { receiveFrom: owner.received + 1, sendFrom: request.cursor + 1 })
    old?.send([encodeFrame(['superseded'])])
    old?.close('superseded')
  }

  const attach = (
    {
      gen,
      place,
      poll,
      cursor = client.received,
      acked = client.acked,
    }: Pick<Request, 'gen' | 'place' | 'poll'> & Partial<Request>,
    style: Attempt['style'],
    narrow = false,
  ): Attempt => {
    const request: Request = { gen, place, poll, cursor, acked }
    const pair = createLinkPair({
      transport: style,
      held: true,
      highWaterBytes: narrow ? 150 : 1_000_000,
      schedule: later,
    })
    const outgoing: Attempt['outgoing'] = []
    const attempt: Attempt = {
      ...request,
      style,
      pair,
      ghost: false,
      welcomed: false,
      outgoing,
      client: record(pair.client, () => client, up, style === 'stream' ? undefined : outgoing),
      owner: record(
        pair.server,
        () => owner,
        down,
        undefined,
        style === 'poll' ? () => pair.server.close('closed', 'the batch is complete') : undefined,
      ),
    }
    let first = true
    pair.server.listen({
      receive(frame) {
        if (first) {
          first = false
          return judge(attempt, frame.header[1] as Request)
        }
        owner.receive(attempt.owner.link, frame)
      },
      drained() {
        attempt.owner.blocked = false
        owner.drained(attempt.owner.link)
      },
      closed() {
        if (owner.link !== attempt.owner.link)
          return unchangedBy(
            () => owner.unbind(attempt.owner.link),
            'the end of a link left behind changes nothing',
          )
        owner.unbind(attempt.owner.link)
        bound = undefined
      },
    })
    pair.client.listen({
      receive(frame) {
        if (attempt.ghost) return
        const [kind, fields] = frame.header
        if (kind === 'welcome' && !attempt.welcomed) {
          if (attempt.gen < welcome.gen || (attempt.gen === welcome.gen && attempt.poll <= welcome.poll))
            return
          const { from, applied } = fields as { from: number; applied: number }
          assert.ok(from <= client.received + 1, `welcomed from ${from}, received ${client.received}`)
          attempt.welcomed = true
          welcome = { gen: attempt.gen, poll: attempt.poll }
          const old = current
          current = attempt
          client.acknowledge(applied)
          attempt.client.next = applied + 1
          client.bind(attempt.client.link, { receiveFrom: from, sendFrom: applied + 1 })
          if (config.tidy && old) old.pair.client.close('superseded')
          return
        }
        client.receive(attempt.client.link, frame)
      },
      drained() {
        attempt.client.blocked = false
        client.drained(attempt.client.link)
      },
      closed() {
        if (client.link !== attempt.client.link)
          return unchangedBy(
            () => client.unbind(attempt.client.link),
            'the end of a link left behind changes nothing',
          )
        client.unbind(attempt.client.link)
      },
    })
    pair.client.send([encodeFrame(['attach', request])])
    attempts.push(attempt)
    return attempt
  }

  const pick = <T>(list: readonly T[], at: number): T | undefined =>
    list[list.length === 0 ? 0 : at % list.length]
  // Recent links are the interesting ones.
  const pickAttempt = (at: number) => pick(attempts.slice(-4), at)
  const pickIndex = (list: readonly unknown[], at: number) => at % Math.max(1, list.length)
  const flush = (count = Infinity) => {
    for (let i = 0; i < count && tasks.length > 0; i++) tasks.shift()!()
  }

  const say = (session: Session & { outbox: Outbox }, truth: Truth, size: number, direction: string) => {
    const number = truth.content.length
    const channel = `c:${size % 3}`
    const content = JSON.stringify(`${direction}${number}${'x'.repeat(size)}`)
    truth.content.push(content)
    const encoded = encodeFrame(['pub', channel, 'e'], content, { channel })
    // The session knows the size of a frame from this field alone.
    const frame = config.large ? { ...encoded, bytes: 40_000 } : encoded
    try {
      assert.equal(session.send(frame), number)
    } catch (error) {
      truth.content.pop()
      if ((error as { code?: string }).code !== 'queue-full') throw error
      assert.ok(
        kept(session) >= config.outboxFrames || session.outbox.bytes + frame.bytes > config.outboxBytes,
        'an outbox refused while it had room',
      )
    }
  }

  const post = (attempt: Attempt, from: number, count: number) => {
    const part = attempt.outgoing.slice(from, from + count)
    if (part.length > 0) posts.push({ first: part[0]!.number, frames: part.map(({ frame }) => frame) })
  }
  const deliverPost = ({ first, frames }: Post) => {
    const before = owner.received
    const applied = owner.apply(first, frames.map(decode))
    assert.equal(applied, owner.received)
    if (first > before + 1) assert.equal(applied, before, 'a post beyond a hole is not taken')
    answers.push(applied)
  }

  const run: Record<Kind, (at: number, size: number) => void> = {
    sendDown: (_, size) => say(owner, down, size, 'd'),
    sendUp: (_, size) => say(client, up, size, 'u'),
    burstDown: (_, size) => {
      for (let i = 0; i < size; i++) say(owner, down, i % 5, 'd')
    },
    flush: (_, size) => flush(1 + (size % 3)),
    settle() {
      flush()
      for (const session of [owner, client]) {
        const at = attempts.find((attempt) =>
          [attempt.owner.link, attempt.client.link].includes(session.link!),
        )
        if (!at || (session === owner ? at.owner : at.client).blocked) continue
        assert.equal(session.unwritten(), 0, 'frames wait, though the link takes them')
      }
    },
    deliverUp: (at, size) => pickAttempt(at)?.pair.up.deliver(1 + (size % 5)),
    deliverDown: (at, size) => pickAttempt(at)?.pair.down.deliver(1 + (size % 5)),
    attach(at) {
      gen++
      attach({ gen, place: `p${gen}`, poll: 0 }, pick(['stream', 'http', 'poll'] as const, at)!, at % 2 === 0)
    },
    relink(at, size) {
      // The shortest way into the middle of a replay in both directions.
      gen++
      const { pair } = attach({ gen, place: `p${gen}`, poll: 0 }, 'stream', at % 4 > 0)
      pair.up.deliver(1)
      pair.down.deliver(1 + (size % 3))
    },
    nextPoll(at) {
      const poll = attempts.filter((attempt) => attempt.style === 'poll' && !attempt.ghost).at(-1)
      if (!poll || poll.gen !== gen) return
      const next =
        Math.max(...attempts.filter((attempt) => attempt.gen === poll.gen).map((attempt) => attempt.poll)) + 1
      attach({ gen: poll.gen, place: poll.place, poll: next + (at % 2) }, 'poll')
    },
    doubleAttach(at) {
      // A proxy or a browser repeats a request. Either copy may be the one whose answer reaches the client.
      const original = pickAttempt(at)
      if (!original || original.ghost || original.style === 'stream') return
      const copy = attach(original, original.style)
      ;(at % 2 === 0 || original.welcomed ? copy : original).ghost = true
    },
    imposter(at) {
      const attempt = attach({ gen: Math.max(1, gen), place: `imposter${at}`, poll: at % 3 }, 'stream')
      attempt.ghost = true
      // Late, so that the attempt whose number it bears has been judged.
      if (state.gen < attempt.gen) attempts.pop()
    },
    cut: (at) => pickAttempt(at)?.pair.cut({ tell: 'nobody' }),
    noticeClient: (at) => {
      const attempt = pickAttempt(at)
      if (attempt?.pair.dead) attempt.pair.cut({ tell: 'client' })
    },
    noticeOwner: (at) => {
      const attempt = pickAttempt(at)
      if (attempt?.pair.dead) attempt.pair.cut({ tell: 'server' })
    },
    post(at, size) {
      const attempt = pickAttempt(at)
      if (attempt) post(attempt, pickIndex(attempt.outgoing, at >> 2), 1 + (size % 8))
    },
    deliverPost(at) {
      const [delivered] = posts.splice(pickIndex(posts, at), 1)
      if (delivered) deliverPost(delivered)
    },
    doublePost(at) {
      const doubled = pick(posts, at)
      if (doubled) posts.push(doubled)
    },
    losePost: (at) => void posts.splice(pickIndex(posts, at), 1),
    deliverAnswer(at) {
      const [applied] = answers.splice(pickIndex(answers, at), 1)
      if (applied !== undefined) client.acknowledge(applied)
    },
    pingDown: () => owner.ping(),
    pingUp: () => client.ping(),
    block(at) {
      const pair = pickAttempt(at)?.pair
      ;(at % 8 < 4 ? pair?.up : pair?.down)?.block()
    },
    unblock(at) {
      const pair = pickAttempt(at)?.pair
      ;(at % 8 < 4 ? pair?.up : pair?.down)?.unblock()
    },
    erase(_, size) {
      const channel = `c:${size % 3}`
      let number = owner.outbox.base
      owner.eraseWhere((frame) => {
        if (frame.channel === channel) down.erased.add(number)
        number++
        return frame.channel === channel
      })
    },
    withdraw(at) {
      const number = client.sent - (at % 12)
      if (number < 1 || up.erased.has(number)) return
      if (!client.withdraw(number)) return
      assert.ok(number > up.written, `frame ${number} was taken back after a link had taken it`)
      up.erased.add(number)
      up.withdrawn.add(number)
    },
    noise(at, size) {
      const noise = encodeFrame(pick(noiseKinds, size)!)
      const { link } = at % 2 ? owner : client
      if (!link) return
      const frame = decode(noise)
      unchangedBy(() => (at % 2 ? owner : client).receive(link, frame), 'a link frame counts nothing')
      if (at % 2) unchangedBy(() => owner.apply(1, [frame]), 'a link frame counts nothing')
    },
    drainedLate(at) {
      const attempt = pickAttempt(at)
      if (attempt && owner.link !== attempt.owner.link) owner.drained(attempt.owner.link)
    },
  }

  const check = () => {
    mayGiveUp()
    for (const session of [owner, client]) {
      assert.ok(kept(session) <= Math.max(1, config.outboxFrames), `${kept(session)} frames are kept`)
      assert.ok(
        kept(session) <= 1 || session.outbox.bytes <= config.outboxBytes,
        `${session.outbox.bytes} bytes are kept`,
      )
      if (kept(session) === 0) assert.equal(session.outbox.bytes, 0, 'bytes of frames that are gone')
      assert.equal(session.outbox.base + kept(session), session.sent + 1)
      assert.ok(session.outbox.base > session.acked, 'what was confirmed is kept no more')
    }
    assert.ok(owner.acked <= client.received && client.received <= owner.sent, 'received is a prefix of sent')
    assert.ok(client.acked <= owner.received && owner.received <= client.sent, 'applied is a prefix of sent')
    const now = {
      ownerReceived: owner.received,
      clientReceived: client.received,
      ownerAcked: owner.acked,
      clientAcked: client.acked,
      gen: state.gen,
    }
    for (const name of Object.keys(now) as (keyof typeof now)[])
      assert.ok(now[name] >= marks[name], `${name} fell`)
    marks = now
  }

  /** From here on the network is good. */
  const heal = () => {
    for (const attempt of attempts) {
      attempt.pair.up.unblock()
      attempt.pair.down.unblock()
      if (attempt.pair.dead) attempt.pair.cut()
    }
    const settled = () =>
      tasks.length === 0 &&
      owner.link !== undefined &&
      client.link !== undefined &&
      client.received === owner.sent &&
      owner.received === client.sent &&
      owner.acked === owner.sent &&
      client.acked === client.sent
    for (let round = 0; round < 40; round++) {
      flush()
      for (const attempt of attempts) {
        attempt.pair.up.deliver()
        attempt.pair.down.deliver()
      }
      flush()
      check()
      if (settled()) return
      const style = (['stream', 'http', 'poll'] as const)[round % 3]!
      if (!client.link || client.link !== current?.client.link || !owner.link) {
        if (current?.style === 'poll' && current.gen === gen && round < 20)
          attach({ gen, place: current.place, poll: current.poll + 1 + (round % 2) }, 'poll')
        else attach({ gen: ++gen, place: `p${gen}`, poll: 0 }, style)
      } else if (round % 4 === 3) {
        owner.ping()
        client.ping()
      } else if (round % 8 === 6) {
        // Half open: the owner left this link, the client has yet to find out.
        if (owner.link !== current.owner.link) current.pair.cut()
      }
      flush()
      if (current && current.style !== 'stream') post(current, 0, Infinity)
      for (const waiting of posts.splice(0)) deliverPost(waiting)
      for (const applied of answers.splice(0)) client.acknowledge(applied)
      check()
    }
    assert.fail(
      `no rest on a good network: sent ${owner.sent}, received ${client.received}, acked ${owner.acked}; ` +
        `uplink sent ${client.sent}, applied ${owner.received}, acked ${client.acked}`,
    )
  }

  /** @returns how it ended */
  const play = (list: readonly Step[]): 'settled' | 'ended' => {
    try {
      for (const { kind, at, size } of list) {
        run[kind](at, size)
        check()
      }
      heal()
    } catch (error) {
      if (error instanceof LegalEnd) return 'ended'
      throw error
    }
    for (const truth of [down, up]) {
      for (let number = truth.seen + 1; number < truth.content.length; number++)
        assert.ok(truth.erased.has(number), `frame ${number} never came`)
      assert.equal(new Set(truth.heard).size, truth.heard.length, 'nothing came twice')
    }
    return 'settled'
  }

  return { owner, client, play }
}
