import fc from 'fast-check'
import t from 'tap'
import type { Revision } from '../src/announcement.js'
import {
  answered,
  begin,
  miss,
  readPublication,
  take,
  type Chain,
  type Publication,
} from '../src/client/chain.js'

const epoch = 'e'
const at = (offset: number) => ({ epoch, offset })
const snapshot = (from: Revision | null, to: Revision, offset: number): Publication => ({
  event: 'snapshot',
  from,
  to,
  data: to,
  position: at(offset),
})
const answer = (revision: Revision, offset: number) => ({ revision, data: revision, position: at(offset) })
const after = (chain: Chain, ...publications: Publication[]) => publications.reduce(take, chain)
const says = ({ mine, data, kept }: Chain) => [mine, data, kept.length]

t.test('what follows on the state that is shown is applied', (t) => {
  const chain = begin({ revision: 'a', data: { list: [1] }, position: at(5) })
  const shown = after(
    chain,
    {
      event: 'patch',
      from: 'a',
      to: 'b',
      patch: [{ op: 'add', path: '/list/-', value: 2 }],
      position: at(6),
    },
    { event: 'snapshot', from: 'b', to: 'c', data: { list: [] }, position: at(7) },
  )
  t.strictSame(says(shown), ['c', { list: [] }, 0])
  t.strictSame(chain.data, { list: [1] }, 'the state before it is as it was')
  t.end()
})

t.test('what the answer holds already is dropped', (t) => {
  const chain = begin(answer('c', 5))
  t.equal(after(chain, snapshot('x', 'y', 5)).kept.length, 0, 'by its position')
  t.equal(after(chain, snapshot('b', 'c', 6)).kept.length, 0, 'by what it leads to')
  t.equal(after(chain, snapshot('a', 'b', 6)).kept.length, 1, 'not before that is known')
  t.strictSame(says(after(chain, snapshot('a', 'b', 6), snapshot('b', 'c', 7))), ['c', 'c', 0])
  t.strictSame(
    says(after(chain, snapshot('a', 'b', 6), snapshot('b', 'c', 7), snapshot('c', 'd', 8))),
    ['d', 'd', 0],
    'and the chain goes on',
  )
  t.equal(
    begin(answer('c', 5)).kept.length +
      after(chain, snapshot('x', 'y', 6), snapshot('b', 'c', 7)).kept.length,
    1,
    'what does not lead to it stays',
  )
  t.end()
})

t.test('two publishers that say the same are heard once', (t) => {
  const chain = begin(answer('a', 5))
  const same = [snapshot('a', 'b', 6), snapshot('a', 'b', 7), snapshot('b', 'c', 8), snapshot('b', 'c', 9)]
  t.strictSame(says(after(chain, ...same)), ['c', 'c', 0])
  t.strictSame(says(after(begin(answer('c', 5)), ...same)), ['c', 'c', 0])
  t.end()
})

t.test('numbers order what positions cannot', (t) => {
  const chain = begin(answer(5, 5))
  t.strictSame(says(after(chain, snapshot(null, 4, 6))), [5, 5, 0])
  t.strictSame(says(after(chain, snapshot(null, 7, 6))), [7, 7, 0])
  t.strictSame(says(after(chain, snapshot(null, 7, 7), snapshot(5, 6, 8))), [7, 7, 0])
  t.equal(answered(after(chain, snapshot(5, 8, 6)), answer(7, 5), 0).mine, 8, 'an older answer')
  t.equal(answered(after(chain, snapshot(5, 8, 6)), answer(9, 5), 0).mine, 9, 'a newer one')
  t.end()
})

t.test('an answer that was overtaken is not shown', (t) => {
  const chain = begin(answer('a', 5))
  const moved = after(chain, snapshot('a', 'b', 6))
  t.equal(answered(moved, answer('a', 5), chain.came).mine, 'b')
  t.equal(answered(moved, answer('between', 5), chain.came).mine, 'b')
  t.equal(answered(moved, answer('c', 6), chain.came).mine, 'c', 'unless its position says otherwise')
  t.equal(answered(moved, answer('c', 5), moved.came).mine, 'c', 'or it was asked for later')
  t.end()
})

t.test('only an answer that is asked for later ends a gap or an invalidation', (t) => {
  const chain = begin(answer('a', 5))
  for (const broken of [miss(chain), take(chain, { event: 'invalidate', to: null, position: at(6) })]) {
    t.equal(broken.kept.length, 1)
    const more = after(broken, snapshot('a', 'b', 7))
    t.strictSame(says(more), ['a', 'a', 2], 'what follows waits')
    t.strictSame(says(answered(more, answer('a', 5), 0)), ['a', 'a', 2], 'asked for before')
    t.strictSame(says(answered(more, answer('a', 5), 1)), ['b', 'b', 0], 'asked for between')
    t.strictSame(says(answered(more, answer('c', 5), 2)), ['c', 'c', 0], 'asked for after')
  }
  t.equal(take(chain, { event: 'invalidate', to: 'a', position: at(6) }).kept.length, 0)
  t.end()
})

t.test('a patch that does not fit is not chained', (t) => {
  const chain = take(begin(answer('a', 5)), {
    event: 'patch',
    from: 'a',
    to: 'b',
    patch: [{ op: 'remove', path: '/nowhere' }],
    position: at(6),
  })
  t.strictSame(says(chain), ['a', 'a', 1])
  t.end()
})

t.test('what is kept is bounded, and malformed publications only say that something changed', (t) => {
  let chain = begin(answer('a', 5))
  for (let n = 0; n < 1000; n++) chain = take(chain, snapshot(`x${n}`, `y${n}`, n + 10))
  t.equal(chain.kept.length, 100)
  const position = at(6)
  for (const data of [undefined, null, 1, {}, { to: {} }, { from: 'a', to: 'b' }, { from: 'a', patch: [] }])
    t.match(readPublication('patch', data, position), { event: 'invalidate', position })
  t.equal(readPublication('another', {}, position), undefined)
  t.end()
})

/*
 * A resource, whoever writes to it, and what reaches one client, in any order that can be: publications come in the
 * order of the channel, doubled or lost (which is told), answers hold all that was written when the route was asked or
 * later, and positions that their node knew.
 */
type Step =
  | { kind: 'write'; publisher: number }
  | { kind: 'publish'; publisher: number }
  | { kind: 'deliver'; fate: 'once' | 'twice' | 'lost' }
  | { kind: 'lead'; publisher: number }
  | { kind: 'ask'; behind: number }
  | { kind: 'read' }
  | { kind: 'reply' }

const publishers = fc.nat(1)
const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('write' as const), publisher: publishers }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('publish' as const), publisher: publishers }) },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('deliver' as const),
        fate: fc.constantFrom<'once' | 'twice' | 'lost'>('once', 'once', 'once', 'once', 'twice', 'lost'),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('lead' as const), publisher: publishers }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('ask' as const), behind: fc.nat(6) }) },
    { weight: 3, arbitrary: fc.constant({ kind: 'read' as const }) },
    { weight: 3, arbitrary: fc.constant({ kind: 'reply' as const }) },
  ),
  { maxLength: 120 },
)

function play(script: readonly Step[], { numbered, positions }: { numbered: boolean; positions: boolean }) {
  const revision = (n: number): Revision => (numbered ? n : `r${n}`)
  const numberOf = (one: Revision) => Number(String(one).replace('r', ''))
  let newest = 0
  let offset = 0
  // What each publisher published last, and what it has read and not yet published.
  const base = [0, 0]
  const read: (number | undefined)[] = [undefined, undefined]
  const wire: Publication[] = []
  let asking: { asked: number; position: number; state?: number } | undefined
  let chain = begin({ revision: revision(0), data: 0, position: at(0) })
  const shown = [0]
  let most = 0
  const show = () => {
    if (!chain.kept.length && numberOf(chain.mine) < most)
      throw new Error(`${most} came, ${numberOf(chain.mine)} is shown, and it does not ask`)
    const n = numberOf(chain.mine)
    if (n !== shown.at(-1)) shown.push(n)
  }
  /** At a node that knows the channel up to a while ago. */
  const ask = (behind: number) => (asking ??= { asked: chain.came, position: Math.max(0, offset - behind) })
  const readIt = () => {
    if (asking) asking.state ??= newest
  }
  const reply = () => {
    if (asking?.state === undefined) return
    const { asked, position, state } = asking
    asking = undefined
    chain = answered(chain, { revision: revision(state), data: state, position: at(position) }, asked)
    show()
  }
  const come = (publication: Publication) => {
    most = Math.max(most, numberOf(publication.to!))
    chain = take(chain, publication)
    show()
  }
  const deliver = (fate: 'once' | 'twice' | 'lost') => {
    const publication = wire.shift()
    if (!publication) return
    if (fate === 'lost') chain = miss(chain)
    else come(publication)
    if (fate === 'twice') come(publication)
  }
  const publish = (publisher: number) => {
    const to = read[publisher]
    if (to === undefined || to === base[publisher]) return
    const from = base[publisher]!
    read[publisher] = undefined
    base[publisher] = to
    offset += 2
    wire.push({
      event: 'snapshot',
      from: revision(from),
      to: revision(to),
      data: to,
      position: positions ? at(offset) : undefined,
    })
  }
  const write = (publisher: number) => {
    newest++
    // One that is frozen between reading and publishing publishes what it read then.
    read[publisher] ??= newest
  }
  for (const step of script) {
    if (step.kind === 'write') write(step.publisher)
    else if (step.kind === 'publish') publish(step.publisher)
    else if (step.kind === 'deliver') deliver(step.fate)
    else if (step.kind === 'lead') {
      // It begins from what it reads.
      base[step.publisher] = newest
      read[step.publisher] = undefined
    } else if (step.kind === 'ask') ask(step.behind)
    else if (step.kind === 'read') readIt()
    else reply()
  }
  // There is one more write, everybody publishes it, all of it comes, and while the client must ask, it does.
  newest++
  for (const publisher of [0, 1]) {
    publish(publisher)
    read[publisher] = newest
    publish(publisher)
  }
  readIt()
  while (wire.length) deliver('once')
  reply()
  let refetches = 0
  while (chain.kept.length) {
    if (++refetches > 2) throw new Error('it asks for ever')
    ask(6)
    readIt()
    reply()
  }
  return { shown, newest, chain, numberOf }
}

for (const numbered of [false, true])
  for (const positions of [false, true]) {
    const kind = `${numbered ? 'numbers' : 'digests'}, ${positions ? 'with' : 'without'} positions`
    t.test(`never shows older after newer, and ends on the newest: ${kind}`, (t) => {
      fc.assert(
        fc.property(steps, (script) => {
          const { shown, newest, chain, numberOf } = play(script, { numbered, positions })
          for (const [index, n] of shown.entries())
            if (index && n <= shown[index - 1]!) throw new Error(`shows ${shown.join(' ')}`)
          if (numberOf(chain.mine) !== newest) throw new Error(`ends on ${chain.mine}, not on ${newest}`)
          if (chain.data !== newest) throw new Error('the data is another')
        }),
        { numRuns: 3_000 },
      )
      t.end()
    })
  }
