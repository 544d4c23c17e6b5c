import { EverwireError, type HistoryClass } from '@everwire/core'
import type { ClientSession } from '../client-session.js'

/** What a client asks to publish. */
export interface PublishAttempt {
  event: string
  /** Parsed JSON, or the bytes of a binary payload. */
  data: unknown
}

/** What holds for the channels of one pattern. Whatever is not allowed is denied. */
export interface ChannelOptions {
  /** Keeps publications, so that readers recover by position. Without it the channel is live only. */
  history?: Partial<HistoryClass>
  /** Who may read. Asked at each subscribe, and again at each attach. @default false */
  subscribe?: boolean | ((session: ClientSession, channel: string) => boolean | Promise<boolean>)
  /** Who may publish from a client. @default false */
  publish?:
    | boolean
    | ((session: ClientSession, channel: string, attempt: PublishAttempt) => boolean | Promise<boolean>)
  /** Readers see the user id of the client that published, as `meta.userId`. @default false */
  showPublisher?: boolean
  /**
   * Anybody may read it without a library, authentication is not asked, and caches on the way may keep the answers.
   * Implies `subscribe: true`. @default false
   */
  public?: boolean
  /** Carries secrets beside what others may choose, so that it must not be compressed (BREACH). @default false */
  secret?: boolean
  /** Publications a reader that comes back is sent at most before a `gap` of `limit`. @default 1000 */
  maxRecover?: number
}

/** Options with every default filled in. */
export interface ChannelRule {
  pattern: string
  history: HistoryClass | undefined
  subscribe: NonNullable<ChannelOptions['subscribe']>
  publish: NonNullable<ChannelOptions['publish']>
  showPublisher: boolean
  public: boolean
  secret: boolean
  maxRecover: number
}

const historyDefaults: HistoryClass = { size: 200, ttlMs: 3_600_000 }

export interface ChannelRules {
  add(pattern: string, options: ChannelOptions): void
  /** The rule of the most exact pattern. */
  match(channel: string): ChannelRule | undefined
  /** The same. @throws EverwireError `unknown-channel` */
  find(channel: string): ChannelRule
  all(): ChannelRule[]
}

/** Which options hold for which channel: exact names first, then the longest prefix before a final `*`. */
export function createChannelRules(): ChannelRules {
  const exact = new Map<string, ChannelRule>()
  const prefixes: { prefix: string; rule: ChannelRule }[] = []
  const match = (channel: string) =>
    exact.get(channel) ?? prefixes.find(({ prefix }) => channel.startsWith(prefix))?.rule
  return {
    match,
    add(pattern, options) {
      const rule = ruleOf(pattern, options)
      if (!pattern.endsWith('*')) exact.set(pattern, rule)
      else {
        prefixes.push({ prefix: pattern.slice(0, -1), rule })
        prefixes.sort((a, b) => b.prefix.length - a.prefix.length)
      }
    },
    find(channel) {
      const rule = match(channel)
      if (!rule) throw new EverwireError('unknown-channel', `no channel rule fits ${JSON.stringify(channel)}`)
      return rule
    },
    all: () => [...exact.values(), ...prefixes.map(({ rule }) => rule)],
  }
}

function ruleOf(pattern: string, options: ChannelOptions): ChannelRule {
  if (pattern.slice(0, -1).includes('*'))
    throw new TypeError(`channel pattern ${pattern}: a * may stand at the end only, as in chat:*`)
  const {
    history,
    public: isPublic = false,
    subscribe = isPublic,
    publish = false,
    showPublisher = false,
    secret = false,
    maxRecover = 1_000,
  } = options
  for (const [name, value] of Object.entries({ ...history, maxRecover }))
    if (!Number.isSafeInteger(value) || value < 1)
      throw new TypeError(`channel ${pattern}: ${name} must be a whole number from 1`)
  if (isPublic && subscribe !== true)
    throw new TypeError(`channel ${pattern}: public says that anybody may read it: leave subscribe away`)
  return {
    pattern,
    history: history && { ...historyDefaults, ...history },
    subscribe,
    publish,
    showPublisher,
    public: isPublic,
    secret,
    maxRecover,
  }
}

/** @throws EverwireError `forbidden` */
export async function assertMayRead(
  { subscribe }: ChannelRule,
  session: ClientSession,
  channel: string,
): Promise<void> {
  const allowed = typeof subscribe === 'function' ? await subscribe(session, channel) : subscribe
  if (!allowed) throw new EverwireError('forbidden', `reading ${channel} is not allowed`)
}

/** @throws EverwireError `forbidden` */
export async function assertMayPublish(
  { publish }: ChannelRule,
  session: ClientSession,
  channel: string,
  attempt: PublishAttempt,
): Promise<void> {
  const allowed = typeof publish === 'function' ? await publish(session, channel, attempt) : publish
  if (!allowed) throw new EverwireError('forbidden', `publishing to ${channel} is not allowed`)
}
