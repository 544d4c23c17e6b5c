import type { ClientTransport, Clock, TransportOffer } from '@everwire/core'
import type { TransportVerdict } from './carrier.js'

/** Where it is kept what works on which server's paths; `localStorage` fits. */
export interface TransportMemory {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
}

export interface NegotiatorOptions {
  url: string
  transports: readonly ClientTransport[]
  clock: Clock
  memory: TransportMemory | false | undefined
  /** How long what is remembered counts. */
  memoryMs: number
  /** How often a better transport is tried, on average; and how long one is set back at first. */
  upgradeIntervalMs: number
}

/** A transport that failed where another worked. */
interface SetBack {
  /** Milliseconds since 1970. */
  until: number
  times: number
  reason: string
}

/** What is remembered of one server's paths. */
interface Experience {
  /** Milliseconds since 1970; it does not move, so that everything is tried anew some time. */
  since: number
  worked?: string
  /** What that transport had found out. */
  way?: string | undefined
  back: Record<string, SetBack>
  /** Silence of so many milliseconds was cut. */
  idleMs?: number
}

/** A set-back doubles up to so many times the first. */
const maxSetBack = 16
/** Shorter silences are cut by accident only. */
const minIdleMs = 3_000
/** Two timeouts differ by no more. */
const sameIdleMs = 500

/** Knows the transports: what they are offered, what worked and failed on this path; and says which to try. */
export interface Negotiator {
  /** Silence that the path is known to cut; infinite otherwise. */
  readonly idleMs: number
  /** All transports, the best first. */
  verdicts(used?: string): TransportVerdict[]
  /** Those that may be tried, in the order in which to try them. */
  candidates(): ClientTransport[]
  /** What the server says. */
  offered(offers: readonly TransportOffer[]): void
  worked(name: string): void
  /** It failed where another works: not tried for a time, twice as long each time. */
  setBack(name: string, reason: string): void
  /** It broke soon after it had opened: once is an accident, twice in a row sets it back. */
  brokeEarly(name: string, reason: string): void
  /** It lasted. */
  lasted(name: string): void
  /** A link broke after so many milliseconds of silence. @returns whether that may have been the reason */
  fell(idleMs: number): boolean
  /** This may be another network: what failed may work. */
  forgetSetBacks(): void
}

export function createNegotiator({
  url,
  transports,
  clock,
  memory,
  memoryMs,
  upgradeIntervalMs,
}: NegotiatorOptions): Negotiator {
  const key = `everwire:${url}`
  const offset = Date.now() - clock.now()
  const now = () => clock.now() + offset
  let offers: readonly TransportOffer[] = []
  let suspectMs = 0
  let suspect: string | undefined
  let known: Experience = { since: now(), back: {} }
  try {
    const kept = JSON.parse((memory && memory.getItem(key)) || 'null') as Experience | null
    if (kept && kept.since <= now()) {
      known = { ...kept, back: {} }
      if (!(kept.idleMs! >= minIdleMs)) delete known.idleMs
      for (const { name } of transports) {
        const back = kept.back[name]
        if (back && back.until < now() + memoryMs && back.times > 0) known.back[name] = back
      }
    }
  } catch {
    // What was kept is not ours, or may not be read: it is learnt anew.
  }

  const remembered = transports.find(({ name }) => name === known.worked)
  if (remembered && known.way !== undefined) remembered.way = known.way

  const keep = () => {
    try {
      if (memory) memory.setItem(key, JSON.stringify(known))
    } catch {
      // Storage that is full or forbidden: nothing is remembered.
    }
  }
  const forget = () => {
    if (now() - known.since > memoryMs) known = { since: now(), back: {} }
  }
  const offerOf = ({ name }: ClientTransport) => offers.find((offer) => offer.name === name)
  const rank = (transport: ClientTransport) => offerOf(transport)?.rank ?? transports.length
  // The server's order where it has one, else the application's: sorting keeps what is equal as it is.
  const ordered = () => [...transports].sort((a, b) => rank(a) - rank(b))

  const verdict = (transport: ClientTransport, used?: string): TransportVerdict => {
    const { name } = transport
    const offer = offerOf(transport)
    const back = known.back[name]
    const waitMs = (back?.until ?? 0) - now()
    const is = (use: TransportVerdict['use'], reason: string) => ({ name, use, reason })
    if (name === used) return is('used', 'it carries the session')
    if (!transport.supported()) return is('unsupported', 'by this runtime')
    if (offer?.offered === false) return is('refused', offer.reason)
    if (waitMs > 0) return is('set-back', `${back!.reason}; again in ${Math.ceil(waitMs / 1_000)} s`)
    return is('possible', back ? back.reason : known.worked === name ? 'it worked here' : 'not tried lately')
  }

  const setBack = (name: string, reason: string) => {
    const times = (known.back[name]?.times ?? 0) + 1
    const until = now() + upgradeIntervalMs * Math.min(2 ** (times - 1), maxSetBack)
    known.back[name] = { until, times, reason }
    keep()
  }

  return {
    get idleMs() {
      return known.idleMs ?? Infinity
    },
    verdicts: (used) => ordered().map((transport) => verdict(transport, used)),
    candidates() {
      forget()
      const order = (transport: ClientTransport) => {
        const { use, name } = verdict(transport)
        return use === 'set-back' ? 2 : use !== 'possible' ? 3 : name === known.worked ? 0 : 1
      }
      return ordered()
        .filter((transport) => order(transport) < 3)
        .sort((a, b) => order(a) - order(b))
    },
    offered(said) {
      // It may be something on the way that speaks for the server.
      offers = Array.isArray(said) ? said.filter(Boolean) : []
    },
    worked(name) {
      forget()
      known.worked = name
      known.way = transports.find((transport) => transport.name === name)?.way
      keep()
    },
    setBack,
    brokeEarly(name, reason) {
      if (suspect === name || known.back[name]) setBack(name, reason)
      suspect = name
    },
    lasted(name) {
      suspect = undefined
      if (!known.back[name]) return
      delete known.back[name]
      keep()
    },
    fell(idleMs) {
      if (idleMs < minIdleMs) return false
      // Once is an accident, twice after the same silence is a timeout on the path.
      if (Math.abs(idleMs - suspectMs) < sameIdleMs) {
        known.idleMs = Math.min(idleMs, suspectMs)
        keep()
      }
      suspectMs = idleMs
      return true
    },
    forgetSetBacks() {
      for (const back of Object.values(known.back)) back.until = 0
    },
  }
}
