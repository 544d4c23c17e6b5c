import { EverwireError, type Cancel, type Clock } from '@everwire/core'
import type { Announcement, Revision } from '../announcement.js'
import { answered, begin, miss, take, type Chain } from './chain.js'
import type { Lease } from './clients.js'
import { createDriftWatch } from './drift.js'
import { goLive, type Live } from './live.js'
import { refusalDelay, retryDelay, spread } from './schedule.js'
import type { Response200, State } from './request.js'

/** `live` what changes is published to this page · `polling` it is asked for · `stale` that has not worked lately. */
export type PollState = 'live' | 'polling' | 'stale'

/** A write that no publication told of. */
export interface Drift {
  /** What the route answered. */
  revision: Revision
}

/** Who hears what a poller finds. */
export interface Follower {
  readonly intervalMs: number
  data(data: unknown): void
  error(error: EverwireError): void
  state(state: PollState): void
  drift(drift: Drift): void
  refused(error: EverwireError): void
}

export interface PollerSettings {
  clock: Clock
  random: () => number
  auditMs: number
  refetchMs: number
  /** Asks the route, on condition that it is not what is known. */
  request(known: State | undefined, signal: AbortSignal): Promise<Response200>
  /** A client for what an answer announced; undefined when live is not wanted. */
  lease: ((announcement: Announcement, answerUrl: string, retreat: () => void) => Promise<Lease>) | undefined
  isHidden(): boolean
  /** Nobody needs it any more. */
  ended(): void
}

/** The one owner of the interval of a resource. */
export interface Poller {
  readonly state: PollState
  readonly data: unknown
  readonly failures: number
  /** Polls for somebody, until the undo. */
  join(follower: Follower): Cancel
  /** Asks now. An answer that is under way serves while there was none yet; after that only one that is asked for later. */
  read(fresh: boolean): Promise<unknown>
  /** The page is shown, or hidden. */
  seen(): void
  close(): void
}

/** What a route answers to who may not see it. */
const refusals: readonly string[] = ['unauthorized', 'forbidden']

/** What is shown, and what it is called. */
interface Shown extends State {
  revision: Revision | undefined
}

export function createPoller(settings: PollerSettings): Poller {
  const { clock, random, auditMs, refetchMs } = settings
  const followers = new Set<Follower>()
  let reads = 0
  let closed = false

  let shown: Shown | undefined
  /** Only while answers announce a channel. */
  let chain: Chain | undefined
  let live: Live | undefined
  /** Another user, or another channel: answers that were asked for before are not for this one. */
  let generation = {}

  let current: Promise<void> | undefined
  let following: Promise<void> | undefined
  let abort = new AbortController()

  /** Polls so far, and how many there were when an operator said to go back: their answers do not know of it. */
  let polls = 0
  let heeded = 0
  let failures = 0
  /** What is not chained could not be asked for. */
  let isBroken = false
  let state: PollState = 'polling'
  let wasLive = false
  let hasBeenLive = false
  /** When the data was last known to be right. */
  let freshAt = clock.now()
  let startedAt: number | undefined
  let pollAt = 0
  let auditAt = 0
  let refetchAt: number | undefined
  /** The channel that was refused, how often, and until when it is left alone. */
  let refusal = { channel: '', count: 0, until: 0 }
  let cancelTimer: Cancel = () => {}
  let cancelStale: Cancel = () => {}
  const drift = createDriftWatch(clock, (revision) => each((follower) => follower.drift({ revision })))

  const interval = () => Math.min(...[...followers].map(({ intervalMs }) => intervalMs))
  const each = (run: (follower: Follower) => void) => {
    for (const follower of [...followers]) if (followers.has(follower)) run(follower)
  }

  const isLive = () => !!live?.on && !isBroken

  // -- time

  /** Looks at what may have changed, and sets the next timer. */
  const sync = () => {
    cancelTimer()
    cancelStale()
    if (closed || !followers.size) return
    const now = clock.now()
    const nowLive = isLive()
    if (nowLive !== wasLive) {
      wasLive = nowLive
      freshAt = now
      if (nowLive) {
        // The server that it came back to may be one that publishes nothing: asked once, and not by all at once.
        auditAt = now + (hasBeenLive ? random() * interval() : spread(auditMs, random))
        hasBeenLive = true
        refusal = { channel: '', count: 0, until: 0 }
      }
      // Not all pages at once, when a node dies.
      else pollAt = Math.max(failures && pollAt, now + random() * interval())
    }
    const staleAt = freshAt + 2 * interval()
    const next = nowLive ? 'live' : failures > 1 || (now >= staleAt && now > freshAt) ? 'stale' : 'polling'
    if (next !== state) {
      state = next
      each((follower) => follower.state(next))
      // A listener may have changed everything.
      return sync()
    }
    if (state === 'polling') cancelStale = clock.after(staleAt - now, sync)
    if (current) return
    const due = dueAt(now)
    if (due < Infinity) cancelTimer = clock.after(Math.max(0, due - now), tick)
  }

  const dueAt = (now: number) => {
    const refetch = live ? (refetchAt ?? Infinity) : Infinity
    if (settings.isHidden()) return refetch
    // Nobody tells when the server takes a subscription back for a moment: looked after once in an interval.
    return Math.min(refetch, isLive() ? Math.min(auditAt, now + interval()) : pollAt)
  }

  const tick = () => {
    const now = clock.now()
    if (isLive() !== wasLive || current) return sync()
    const isVisible = !settings.isHidden()
    if (live && refetchAt !== undefined && refetchAt <= now) void ask()
    else if (isVisible && isLive() && auditAt <= now) void ask(true)
    else if (isVisible && !isLive() && pollAt <= now) void ask()
    else sync()
  }

  // -- asking

  const ask = (isAudit = false): Promise<void> => {
    const asked = { count: chain?.came ?? 0, shown, generation }
    polls++
    refetchAt = undefined
    startedAt = clock.now()
    const { signal } = (abort = new AbortController())
    const asking = settings.request(shown, signal).then(
      (answer) => {
        current = undefined
        if (closed) throw new EverwireError('closed')
        if (asked.generation !== generation) {
          pollAt = clock.now()
          sync()
          throw new EverwireError('outcome-unknown', 'the user is another')
        }
        succeed(answer, asked.shown, asked.count, isAudit)
      },
      (error: EverwireError) => {
        current = undefined
        if (!closed) fail(error)
        throw error
      },
    )
    current = asking
    // Who wants to know waits for it; nobody has to.
    asking.catch(() => {})
    sync()
    return asking
  }

  const askAgain = (): Promise<void> => {
    if (!current) return ask()
    following ??= current
      .catch(() => {})
      .then(() => {
        following = undefined
        if (closed) throw new EverwireError('closed')
        return askAgain()
      })
    following.catch(() => {})
    return following
  }

  const fail = (error: EverwireError) => {
    failures++
    // Who may not ask any more is not to be shown more, and who comes later nothing of it.
    if (refusals.includes(error.code)) forget()
    const now = clock.now()
    const delay = retryDelay(followers.size ? interval() : 0, failures, error.retryAfterMs)
    pollAt = now + delay
    auditAt = now + spread(auditMs, random)
    if (chain?.kept.length) {
      refetchAt = now + delay
      isBroken = true
    }
    each((follower) => follower.error(error))
    sync()
  }

  const succeed = (answer: Response200, known: Shown | undefined, asked: number, isAudit: boolean) => {
    const { announcement } = answer
    const now = clock.now()
    failures = 0
    isBroken = false
    freshAt = now
    pollAt = Math.max(now, (startedAt ?? now) + (followers.size ? interval() : 0))
    auditAt = now + spread(auditMs, random)
    if (!announcement || !settings.lease) {
      const isOvertaken = chain && asked < chain.made.number
      leave()
      chain = undefined
      if (!isOvertaken) show({ ...answer, revision: undefined }, answer.same && known === shown)
      return sync()
    }
    // Of what was not modified, the revision is that of what is known.
    const revision = (answer.same ? known?.revision : undefined) ?? announcement.revision
    const state = { revision, data: answer.data, position: announcement.position }
    if (!chain || (live && live.channel !== announcement.channel)) {
      leave()
      chain = begin(state)
      show({ ...answer, revision }, answer.same && known === shown)
    } else {
      const before = chain
      chain = answered(chain, state, asked)
      if (isAudit && !before.kept.length && chain.mine === revision && before.mine !== revision)
        drift.suspect(revision)
      if (chain.mine === revision) show({ ...answer, revision }, before.mine === revision)
      else showChain(before)
      mend()
    }
    follow(announcement, answer.url)
    sync()
  }

  // -- live

  const follow = (announcement: Announcement, answerUrl: string) => {
    const { channel } = announcement
    if (live?.lost) leave()
    if (live || !followers.size || polls === heeded) return
    if (refusal.channel !== channel) refusal = { channel, count: 0, until: 0 }
    if (clock.now() < refusal.until) return
    const own: Live = goLive(channel, settings.lease!(announcement, answerUrl, retreat), {
      position: () => chain?.position,
      changed: sync,
      publication: (publication) => {
        if (!chain) return
        const before = chain
        chain = take(chain, publication)
        drift.published(publication)
        showChain(before)
        mend()
        sync()
      },
      missed: () => {
        if (chain) chain = miss(chain)
        mend()
        sync()
      },
      refused: (error) => {
        if (live !== own) return
        live = undefined
        const count = refusal.count + 1
        refusal = { channel, count, until: clock.now() + refusalDelay(count) }
        each((follower) => follower.refused(error))
        sync()
      },
      identity: () => {
        if (live !== own) return
        forget()
        pollAt = clock.now()
        sync()
      },
    })
    live = own
  }

  const leave = () => {
    live?.leave()
    live = undefined
    drift.clear()
  }

  /** Back to polling: the next answer says what holds. */
  const retreat = () => {
    leave()
    if (current) heeded = polls
    sync()
  }

  /** What is known was another user's, or is not for this one any more. */
  const forget = () => {
    leave()
    chain = undefined
    shown = undefined
    generation = {}
    wasLive = false
  }

  /** What is not chained is asked for, after a moment in which what is missing may come by itself. */
  const mend = () => {
    if (!chain?.kept.length) {
      refetchAt = undefined
      isBroken = false
    } else refetchAt ??= clock.now() + random() * refetchMs
  }

  // -- showing

  const show = (next: Shown, isSame: boolean) => {
    const { data, etag, text, revision } = next
    const kept = isSame && shown ? shown.data : data
    shown = { data: kept, etag, text, revision }
    if (!isSame) each((follower) => follower.data(kept))
  }

  const showChain = (before: Chain) => {
    const { mine, data } = chain!
    if (mine === before.mine) return
    const etag = shown?.etag && etagOf(shown.etag, before.mine, mine)
    show({ data, revision: mine, etag, text: undefined }, false)
  }

  // -- who needs it

  const end = () => {
    if (closed) return
    closed = true
    cancelTimer()
    cancelStale()
    leave()
    abort.abort()
    settings.ended()
  }
  const endIfUnused = () => {
    if (!followers.size && !reads) end()
  }

  return {
    get state() {
      return state
    },
    get data() {
      return shown?.data
    },
    get failures() {
      return failures
    },
    join(follower) {
      followers.add(follower)
      const now = clock.now()
      if (followers.size === 1) freshAt = shown ? freshAt : now
      if (startedAt !== undefined) pollAt = Math.min(pollAt, startedAt + follower.intervalMs)
      if (shown)
        queueMicrotask(() => {
          if (followers.has(follower) && shown) follower.data(shown.data)
        })
      if (startedAt === undefined) void ask()
      else sync()
      return () => {
        if (!followers.delete(follower)) return
        endIfUnused()
        sync()
      }
    },
    async read(fresh) {
      reads++
      try {
        await (!fresh && !shown && current ? current : askAgain())
        return shown!.data
      } finally {
        reads--
        endIfUnused()
      }
    },
    seen() {
      if (!followers.size || closed) return
      const isOld = clock.now() - freshAt >= interval()
      sync()
      if (!isOld || settings.isHidden() || isLive() || failures) return
      pollAt = clock.now()
      sync()
    },
    close: end,
  }
}

/** The tag of another revision, where tags are plainly made of revisions; undefined where that cannot be known. */
function etagOf(etag: string, revision: Revision, next: Revision): string | undefined {
  const [, start, named] = /^((?:W\/)?")([^"]*)"$/.exec(etag) ?? []
  return named === encodeURIComponent(revision) ? `${start}${encodeURIComponent(next)}"` : undefined
}
