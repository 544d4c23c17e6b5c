import fc from 'fast-check'
import { test } from 'tap'
import { judgeAttach } from '../src/attach.js'
import { Session } from '../src/session.js'
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
    const result = fc.check(property({ Session, judgeAttach }, config), {
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
    { file: 'attach', from: "if (Math.max(cursor, session.acked) + 1 < session.base) return 'lost'", to: '' },
  ],
  'what was confirmed on another way counts as missing': [
    { file: 'attach', from: 'Math.max(cursor, session.acked)', to: 'cursor' },
  ],
  'replay starts one too late': [
    { file: 'session', from: 'this.#written = sendFrom - 1', to: 'this.#written = sendFrom' },
  ],
  'nothing is replayed': [
    { file: 'session', from: 'this.#written = sendFrom - 1', to: 'this.#written = this.#everWritten' },
  ],
  'doubles are not dropped': [{ file: 'session', from: 'if (last <= this.#received) return', to: '' }],
  'a link left behind is listened to': [
    {
      file: 'session',
      from: 'if (this.#ended || this.#link !== link) return',
      to: 'if (this.#ended) return',
    },
  ],
  'the end of an old link ends the new one': [
    {
      file: 'session',
      from: 'if (this.#link === link) this.#link = undefined',
      to: 'this.#link = undefined',
    },
  ],
  'an old link drains the new one': [
    { file: 'session', from: 'if (this.#link !== link) return\n    this.#blocked', to: 'this.#blocked' },
  ],
  'a blocked link is written to': [
    {
      file: 'session',
      from: 'if (!link.send(frames) && this.#link === link) this.#blocked = true',
      to: 'link.send(frames)',
    },
  ],
  'a new link starts blocked': [
    {
      file: 'session',
      from: 'this.#written = sendFrom - 1\n    this.#blocked = false',
      to: 'this.#written = sendFrom - 1',
    },
  ],
  'void counts one': [
    { file: 'frame', from: "return header[0] === 'void' ? (header[1] as number) : 1", to: 'return 1' },
  ],
  'link frames are counted': [
    {
      file: 'frame',
      from: 'Object.hasOwn(sessionShapes, kind)',
      to: "Object.hasOwn(sessionShapes, kind) || kind === 'drain'",
    },
  ],
  'an acknowledgement trims one too many': [
    {
      file: 'outbox',
      from: 'while (this.#base <= number)',
      to: 'while (this.#base <= number + 1 && this.length > 0)',
    },
  ],
  'an acknowledgement trims nothing': [
    { file: 'outbox', from: 'while (this.#base <= number) this.#drop()', to: '' },
  ],
  'the cursor falls when an old acknowledgement comes': [
    { file: 'outbox', from: 'if (number <= this.#acked) return', to: '' },
    { file: 'session', from: 'number <= this.#outbox.acked', to: 'number < 0' },
  ],
  'an erased frame leaves no void': [
    {
      file: 'outbox',
      from: 'this.#bytes += voidFrame.bytes\n    return true',
      to: 'this.#bytes += voidFrame.bytes\n    this.#frames.splice(index, 1)\n    return true',
    },
  ],
  'erasing forgets the bytes': [
    {
      file: 'outbox',
      from: 'this.#bytes -= frame.bytes\n    this.#frames[index]',
      to: 'this.#frames[index]',
    },
  ],
  'nothing is erased': [
    {
      file: 'session',
      from: 'this.#outbox.eraseWhere(where)',
      to: 'this.#outbox.eraseWhere((frame) => (where(frame), false))',
    },
  ],
  'what was written can be taken back': [
    { file: 'session', from: 'number > this.#everWritten && this.#outbox', to: 'this.#outbox' },
  ],
  'only the link at hand counts as written': [
    {
      file: 'session',
      from: 'number > this.#everWritten && this.#outbox',
      to: 'number > this.#written && this.#outbox',
    },
  ],
  'what a link has yet to replay is given up': [
    { file: 'session', from: '(this.#link ? this.#written : this.#everWritten)', to: 'this.#everWritten' },
  ],
  'what was confirmed meanwhile is filled by one void': [
    { file: 'session', from: "['void', known]", to: "['void', 1]" },
  ],
  'frames beyond a hole are taken': [
    { file: 'session', from: 'if (number > this.#received + 1) break', to: '' },
    { file: 'session', from: 'if (number > this.#received + 1)\n', to: 'if (number < 0)\n' },
  ],
  'the outbox has no limit': [{ file: 'outbox', from: 'this.length === 0 || (', to: 'true || (' }],
  'a flush that was asked for once is never asked for again': [
    { file: 'session', from: 'this.#scheduled = false', to: '' },
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
