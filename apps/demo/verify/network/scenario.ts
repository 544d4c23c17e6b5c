import type { Expectations } from '../../src/networks.js'
import type { ClientKind, Visit } from './clients/client.js'
import type { Path, Target } from './paths/path.js'
import type { EntryOf } from './entry.js'

/** What happens on a path while its clients talk. */
export interface Play {
  readonly path: Path
  readonly visits: readonly { kind: ClientKind; visit: Visit; states(): Promise<EntryOf<'state'>[]> }[]
  /** 1 or 2. */
  readonly number: number
  /** Everybody publishes, or nobody. */
  publish(on: boolean): Promise<void>
  /** So long as a look at a path takes: shorter in a short run. */
  hold(): Promise<void>
  /** A fault beside those that every visit is judged by. */
  expect(condition: boolean, otherwise: string): void
  say(text: string): void
}

export interface Scenario extends Omit<Expectations, 'expected'> {
  name: string
  /** What must carry the session in the end; whatever works where it is missing. */
  expected?: Expectations['expected']
  /** Part of the short run. */
  brief?: boolean
  /** @default both */
  clients?: readonly ClientKind[]
  /** The way is too poor to demand that the second visit knows it at once. @default false */
  poor?: boolean
  /** The browser says when the network is back. @default false */
  isToldOfNetwork?: boolean
  /** Why it cannot be played here, if it cannot. */
  obstacle?: () => string | undefined
  open(target: Target): Promise<Path>
  /** @default only holds */
  play?(play: Play): Promise<void>
}
