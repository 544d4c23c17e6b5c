import type { Test } from 'tap'
import { createClient, type ClientOptions } from '@everwire/client'
import { createFakeClock } from '@everwire/testkit'
import { createScriptedNetwork, type Path } from './scripted-network.js'

/** A path that works; its own for each, since tests change them. */
export const open = (): Path => ({ is: 'open' })

/** What a page's storage keeps. */
export function memory() {
  const kept = new Map<string, string>()
  return {
    kept,
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  }
}

/** A client on a scripted network, in a time that stands still. */
export function world(
  t: Test,
  paths: Record<string, Path>,
  options: Partial<ClientOptions> = {},
  clock = createFakeClock({ startMs: 1_000_000 }),
) {
  const started = clock.now()
  const network = createScriptedNetwork(clock, paths)
  const client = createClient({
    url: 'http://localhost:1/everwire',
    transports: network.transports,
    fetch: network.fetch,
    clock,
    random: () => 0.5,
    ...options,
  })
  t.teardown(() => client.close())
  const states: string[] = []
  client.on('state', ({ state, transport }) => states.push(transport ? `${state} ${transport}` : state))
  return {
    client,
    clock,
    network,
    states,
    events: () => network.events.map(({ at, transport, what }) => `${what} ${transport} ${at - started}`),
  }
}

/** Listeners of the page, in a runtime that has none. */
export function fakePage(t: Test) {
  const target = new EventTarget()
  const signals: AbortSignal[] = []
  const add = (type: string, listener: EventListener, options: { signal: AbortSignal }) => {
    signals.push(options.signal)
    target.addEventListener(type, listener, options)
  }
  Object.assign(globalThis, { addEventListener: add })
  t.teardown(() => {
    delete (globalThis as Record<string, unknown>).addEventListener
  })
  return {
    fire: (type: string, fields = {}) => target.dispatchEvent(Object.assign(new Event(type), fields)),
    get listeners() {
      return signals.filter(({ aborted }) => !aborted).length
    },
  }
}
