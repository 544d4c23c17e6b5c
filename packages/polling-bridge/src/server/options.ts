import { systemClock, type Clock } from '@everwire/core'
import type { FastifyRequest } from 'fastify'
import type { Revision } from '../announcement.js'
import { modes, type Mode } from '../change.js'
import type { Signal } from '../signal.js'
import type { Source } from './sources.js'

/** What `config.poll` of a GET route says. */
export interface PollOptions {
  /** Channel on which the changes of this answer are published, or what names it for a request; null: none. */
  channel: string | ((request: FastifyRequest) => string | null)
  /** Every user gets the same answer. Otherwise two users never share one. @default false */
  shared?: boolean
  /**
   * How long after a read the resource is read again while a session anywhere is subscribed, in milliseconds; false:
   * only when the signal, or `changed`, says so. @default 100; with a signal 5000
   */
  watchMs?: number | false
  /** Where the resource is read when it may have changed. @default the route itself, called inside the process */
  source?: Source
  /** Says when to read, such as a notification of the database. @default none */
  signal?: Signal
  /**
   * What names the state of the data, as a client gets it: a number that only rises is best, such as a row version.
   * @default a digest of the JSON text
   */
  revision?: (data: unknown) => Revision
}

export interface PollingBridgeOptions {
  /**
   * Who asks, as a text; null, undefined or '' for nobody known. What it throws, or gives beside that, is logged, and
   * counts as nobody known. It keeps answers apart, and decides who is part of a roll-out.
   * @default the address and all headers that may say who it is; for the roll-out the address
   */
  user?: (request: FastifyRequest) => string | null | undefined
  /** Most that a request gets, whatever operators or clients say. @default 'live' */
  mode?: Mode
  /** Percentage of users that go live, 0 to 100. @default 100 */
  rollout?: number
  /** Headers with which routes are called inside the process to read them, where they need credentials. @default none */
  sourceHeaders?: (channel: string) => Record<string, string>
  /** How long a read of a source may take, in milliseconds. @default 10000 */
  sourceTimeoutMs?: number
  /**
   * Channels that are followed at the same time; those used longest ago are let go. And channels that functions name,
   * such as one for each user, that are live at the same time on all nodes: beyond that answers announce no further one.
   * @default 1000
   */
  maxChannels?: number
  /** How long a channel is followed after its last poll or publication, in milliseconds. @default 300000 */
  idleMs?: number
  /** Largest publication, in bytes of JSON; what is larger is published as an invalidation. @default 49152 */
  snapshotBytes?: number
  /** Largest resource of which differences are computed, in bytes of JSON. @default 1048576 */
  patchBytes?: number
  /** How long a poll waits for the bus at most, in milliseconds. @default 100 */
  announceWaitMs?: number
  /** How long `changed` lets a writer wait at most, in milliseconds. @default 1000 */
  changedWaitMs?: number
  /** After this a poll that is being answered holds up no other, in milliseconds. @default 1000 */
  slowMs?: number
  /** @default the system's */
  clock?: Clock
}

/** Options with every default filled in. */
export type Settings = Required<Omit<PollingBridgeOptions, 'user' | 'sourceHeaders'>> &
  Pick<PollingBridgeOptions, 'user' | 'sourceHeaders'>

/** @throws TypeError naming the option and what it must be */
export function readOptions(options: PollingBridgeOptions): Settings {
  const settings: Settings = {
    user: options.user,
    sourceHeaders: options.sourceHeaders,
    mode: options.mode ?? 'live',
    rollout: options.rollout ?? 100,
    sourceTimeoutMs: options.sourceTimeoutMs ?? 10_000,
    maxChannels: options.maxChannels ?? 1_000,
    idleMs: options.idleMs ?? 300_000,
    snapshotBytes: options.snapshotBytes ?? 49_152,
    patchBytes: options.patchBytes ?? 1_048_576,
    announceWaitMs: options.announceWaitMs ?? 100,
    changedWaitMs: options.changedWaitMs ?? 1_000,
    slowMs: options.slowMs ?? 1_000,
    clock: options.clock ?? systemClock,
  }
  assertControl(settings)
  for (const name of ['user', 'sourceHeaders'] as const)
    if (settings[name] !== undefined && typeof settings[name] !== 'function')
      throw new TypeError(`pollingBridge: ${name} must be a function`)
  for (const [name, value] of Object.entries(settings))
    if (typeof value === 'number' && name !== 'rollout' && (!Number.isSafeInteger(value) || value < 1))
      throw new TypeError(`pollingBridge: ${name} must be a whole number from 1, it is ${value}`)
  return settings
}

/** @throws TypeError naming the field and what it must be */
export function assertControl({ mode, rollout }: { mode?: unknown; rollout?: unknown }): void {
  if (mode !== undefined && !modes.includes(mode as Mode))
    throw new TypeError(`pollingBridge: mode must be one of ${modes.join(', ')}, it is ${String(mode)}`)
  if (rollout !== undefined && !(typeof rollout === 'number' && rollout >= 0 && rollout <= 100))
    throw new TypeError(`pollingBridge: rollout must be a number from 0 to 100, it is ${String(rollout)}`)
}

/** What a route says, with every default filled in. */
export type PollSettings = Pick<PollOptions, 'channel' | 'source' | 'signal' | 'revision'> & {
  shared: boolean
  watchMs: number | false
}

/** @throws TypeError naming the route, the option and what it must be */
export function readPoll(poll: PollOptions, url: string): PollSettings {
  const fault = (message: string) => new TypeError(`pollingBridge: config.poll of ${url}: ${message}`)
  const { channel, shared = false, source, signal, revision } = poll
  const watchMs = poll.watchMs ?? (signal ? 5_000 : 100)
  if (typeof channel !== 'function' && (typeof channel !== 'string' || channel === ''))
    throw fault("channel must be a name such as 'orders:all', or a function that gives one")
  if (typeof shared !== 'boolean') throw fault('shared must be true or false')
  if (watchMs !== false && !(Number.isSafeInteger(watchMs) && watchMs > 0))
    throw fault(`watchMs must be a whole number from 1, or false; it is ${String(watchMs)}`)
  for (const [name, value] of Object.entries({ source, signal, revision }))
    if (value !== undefined && typeof value !== 'function') throw fault(`${name} must be a function`)
  return { channel, shared, watchMs, source, signal, revision }
}
