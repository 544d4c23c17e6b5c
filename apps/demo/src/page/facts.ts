import type { Client } from '@everwire/client'
import type { ServerInfo } from '../shared.js'
import { byId, setText } from './dom.js'
import { count, duration, transportName, withTransportNames } from './words.js'

const busNames: Readonly<Record<string, string>> = { memory: 'in process', nats: 'NATS' }
const pingEveryMs = 2_000
const infoEveryMs = 10_000
const pingPatienceMs = 10_000

export interface Facts {
  render(): void
  roundTripMs(): number | undefined
  /** Id of the node that has this page's session, as far as it is known. */
  node(): string | undefined
  /** Asks the server again. */
  refresh(): void
}

/** The panel with what the client and the server know of the connection. */
export function createFacts(client: Client): Facts {
  let roundTripMs: number | undefined
  let pinged: number | undefined
  let info: ServerInfo | undefined

  const measure = () => {
    const now = performance.now()
    if (client.state !== 'connected' || (pinged !== undefined && now - pinged < pingPatienceMs)) return
    pinged = now
    client
      .ping()
      .then((ms) => (roundTripMs = ms))
      .catch(() => (roundTripMs = undefined))
      .finally(() => (pinged = undefined))
  }
  const ask = () => {
    if (client.state !== 'connected') return
    client
      .request('server.info')
      .then((answer) => (info = answer as ServerInfo))
      // The next one comes soon.
      .catch(() => {})
  }
  client.on('state', ({ state }) => {
    // The answer to a ping may have gone down with its link.
    pinged = undefined
    if (state !== 'connected') roundTripMs = undefined
    measure()
    ask()
  })
  setInterval(measure, pingEveryMs)
  setInterval(ask, infoEveryMs)

  const fact = (name: string) => byId(`fact-${name}`)
  const facts = {
    transport: fact('transport'),
    why: fact('why'),
    up: fact('up'),
    ping: fact('ping'),
    session: fact('session'),
    frames: fact('frames'),
    resumes: fact('resumes'),
    bus: fact('bus'),
    node: fact('node'),
  }
  return {
    roundTripMs: () => roundTripMs,
    node: () => info?.node,
    refresh: ask,
    render() {
      const { transport, upMs, sentence } = client.explain()
      const { received, sent, sessions, resumes } = client.stats()
      setText(facts.transport, transportName(transport))
      setText(facts.why, withTransportNames(sentence))
      setText(facts.up, upMs === undefined ? '–' : duration(Math.floor(upMs / 1_000) * 1_000 || 1_000))
      setText(facts.ping, roundTripMs === undefined ? '–' : `${roundTripMs.toFixed(1)} ms`)
      setText(facts.session, info ? `${info.session.slice(0, 8)}, ${ordinal(sessions)}` : '–')
      setText(facts.frames, `${count(received)} / ${count(sent)}`)
      setText(facts.resumes, resumes === 0 ? 'not yet' : resumes === 1 ? 'once' : `${count(resumes)} times`)
      setText(facts.bus, info ? (busNames[info.bus] ?? info.bus) : '–')
      setText(facts.node, info?.node ?? '–')
    },
  }
}

const ordinal = (sessions: number) => (sessions === 1 ? 'the first' : `number ${sessions}`)
