import fc from 'fast-check'
import { test } from 'tap'
import { judgeAttach } from '../src/attach.js'
import { createOwnerSession } from '../src/owner-session.js'
import { createSession } from '../src/session.js'
import { loadMutant, type Mutation } from './mutants.js'
import {
  createWorld,
  replaying,
  roomy,
  schedule,
  tight,
  type Config,
  type Core,
  type Step,
} from './session-model.js'

// EVERWIRE_SEED replays a failure, EVERWIRE_RUNS searches longer.
const seed = process.env.EVERWIRE_SEED ? Number(process.env.EVERWIRE_SEED) : undefined
const numRuns = Number(process.env.EVERWIRE_RUNS ?? 1000)

const property = (core: Core, config: fc.Arbitrary<Config>) =>
  fc.property(config, schedule, (config: Config, steps: Step[]) => {
    createWorld(core, config).play(steps)
  })

for (const [name, config] of Object.entries({ roomy, tight, replaying }))
  test(`${name} outboxes: any schedule, then a good network, ends with every frame received once and in order`, (t) => {
    const result = fc.check(property({ createOwnerSession, createSession, judgeAttach }, config), {
      numRuns,
      ...(seed === undefined ? {} : { seed }),
    })
    t.notOk(
      result.failed,
      result.failed ? `${String(result.errorInstance)}\n${fc.defaultReportMessage(result)}` : 'holds',
    )
    t.end()
  })

// A property that cannot fail is worth nothing: each of these mistakes must be found.
const mutants: Record<string, Mutation[]> = {
  'the order of arrival decides, not gen': [
    { file: 'attach', from: "if (gen < state.gen) return 'stale'", to: '' },
  ],
  'a second attach of the same number from elsewhere is taken': [
    { file: 'attach', from: 'place !== state.place ||', to: '' },
  ],
  'a delayed poll is taken': [{ file: 'attach', from: '|| poll < state.poll', to: '' }],
  'the next poll counts as a new attempt': [
    { file: 'attach', from: "? 'repeat' : 'accept'", to: "? 'accept' : 'accept'" },
  ],
  'what was given up counts as replayable': [
    {
      file: 'attach',
      from: "if (Math.max(cursor, session.acked) + 1 < session.outbox.base) return 'lost'",
      to: '',
    },
  ],
  'what was confirmed on another way counts as missing': [
    { file: 'attach', from: 'Math.max(cursor, session.acked)', to: 'cursor' },
  ],
  'replay starts one too late': [
    { file: 'session', from: 'this.writtenHere = sendFrom - 1', to: 'this.writtenHere = sendFrom' },
  ],
  'nothing is replayed': [
    {
      file: 'session',
      from: 'this.writtenHere = sendFrom - 1',
      to: 'this.writtenHere = this.written',
    },
  ],
  'doubles are not dropped': [{ file: 'session', from: 'if (last <= this.received) return', to: '' }],
  'a link left behind is listened to': [
    {
      file: 'session',
      from: 'if (this.ended || this.link !== link) return',
      to: 'if (this.ended) return',
    },
  ],
  'the end of an old link ends the new one': [
    {
      file: 'session',
      from: 'if (this.link === link) this.link = undefined',
      to: 'this.link = undefined',
    },
  ],
  'an old link drains the new one': [
    { file: 'session', from: 'if (this.link === link) this.#resume()', to: 'this.#resume()' },
  ],
  'a blocked link is written to': [
    {
      file: 'session',
      from: 'if (!link.send(frames) && this.link === link) this.#blocked = true',
      to: 'link.send(frames)',
    },
  ],
  'a new link starts blocked': [
    {
      file: 'session',
      from: 'this.writtenHere = sendFrom - 1\n    this.#resume()',
      to: 'this.writtenHere = sendFrom - 1\n    this.flush()',
    },
  ],
  'void counts one': [{ file: 'frame', from: "header[0] === 'void' ? (header[1] as number) : 1", to: '1' }],
  'link frames are counted': [
    {
      file: 'frame',
      from: 'numbered.has(kind)',
      to: "numbered.has(kind) || kind === 'drain'",
    },
  ],
  'an acknowledgement trims one too many': [
    {
      file: 'outbox',
      from: 'while (this.base <= number && ',
      to: 'while (this.base <= number + 1 && ',
    },
  ],
  'an acknowledgement trims nothing': [{ file: 'session', from: 'this.outbox.drop(number)', to: '' }],
  'the cursor falls when an old acknowledgement comes': [
    { file: 'session', from: 'number <= this.acked', to: 'number < 0' },
  ],
  'an erased frame leaves no void': [
    {
      file: 'outbox',
      from: 'this.bytes += voidFrame.bytes\n',
      to: 'this.bytes += voidFrame.bytes\n    this.#frames.splice(index, 1)\n',
    },
  ],
  'erasing forgets the bytes': [
    {
      file: 'outbox',
      from: 'this.#release(frame)\n    this.#frames[index]',
      to: 'this.#frames[index]',
    },
  ],
  'nothing is erased': [
    {
      file: 'owner-session',
      from: 'where(frame) && this.outbox.erase(base + index)',
      to: 'where(frame)',
    },
  ],
  'what was written can be taken back': [
    { file: 'session', from: 'number > this.written && this.outbox', to: 'this.outbox' },
  ],
  'only the link at hand counts as written': [
    {
      file: 'session',
      from: 'number > this.written && this.outbox',
      to: 'number > this.writtenHere && this.outbox',
    },
  ],
  'what a link has yet to replay is given up': [
    {
      file: 'owner-session',
      from: '(this.link ? this.writtenHere : this.written)',
      to: 'this.written',
    },
  ],
  'what was confirmed meanwhile is filled by one void': [
    { file: 'session', from: "['void', known]", to: "['void', 1]" },
  ],
  'frames beyond a hole are taken': [
    { file: 'owner-session', from: 'if (number > this.received + 1) break', to: '' },
    { file: 'session', from: 'if (number > this.received + 1) return', to: 'if (number < 0) return' },
  ],
  'the outbox has no limit': [{ file: 'outbox', from: '!length || (', to: 'true || (' }],
  'a flush that was asked for once is never asked for again': [
    { file: 'session', from: '    this.#scheduled = false\n', to: '' },
  ],
}

for (const [name, mutations] of Object.entries(mutants))
  test(`finds the mistake: ${name}`, async (t) => {
    const core = await loadMutant(mutations)
    const found = [replaying, tight, roomy].some(
      (config) => fc.check(property(core, config), { numRuns: 2500, endOnFailure: true }).failed,
    )
    t.ok(found, 'a schedule shows it')
  })
