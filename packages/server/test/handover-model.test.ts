import { test } from 'tap'
import { content, liveCut, ownership, search, type Bounds, type Finding } from './handover-model.js'
import { mutants } from './handover-mutants.js'

const worlds: Record<string, Bounds> = {
  'attaches that race over three nodes': { nodes: 3, attaches: 2, takes: 3 },
  'attaches that race back and forth': { nodes: 2, attaches: 3, takes: 4 },
  'a session that is ended': { nodes: 3, attaches: 2, takes: 2, ends: 1 },
  'a node that crashes and starts again': { nodes: 2, attaches: 2, takes: 3, crashes: 1, restarts: 1 },
  'three nodes, one crashes': { nodes: 3, attaches: 2, takes: 2, crashes: 1 },
  'a deploy of three nodes begins': { nodes: 3, attaches: 1, takes: 1, drains: 1, restarts: 1 },
  'a deploy of two nodes': { nodes: 2, attaches: 1, takes: 3, drains: 2, restarts: 2 },
}

// EVERWIRE_DEEP=1 TAP_TIMEOUT=600 searches further: a minute more.
const deepWorlds: Record<string, Bounds> = {
  'three attaches over three nodes': { nodes: 3, attaches: 3, takes: 3 },
  'three nodes, one crashes and starts again': { nodes: 3, attaches: 2, takes: 3, crashes: 1, restarts: 1 },
  'two nodes, three attaches and a crash': { nodes: 2, attaches: 3, takes: 4, crashes: 1, restarts: 1 },
  'a client that comes in the middle of a drain': { nodes: 3, attaches: 1, takes: 2, drains: 1, restarts: 1 },
  'a client that comes twice in a drain': { nodes: 2, attaches: 2, takes: 3, drains: 1, restarts: 1 },
  'a deploy of two nodes, and a client that comes twice': {
    nodes: 2,
    attaches: 2,
    takes: 3,
    drains: 2,
    restarts: 2,
  },
  'a crash in a drain': { nodes: 2, attaches: 1, takes: 2, drains: 1, crashes: 1, restarts: 2 },
}

const models: Record<string, () => Finding> = {
  'numbers and answers': () => search(content()),
  'the cut of a live channel': () => search(liveCut(2)),
}
for (const [name, bounds] of Object.entries({ ...worlds, ...(process.env.EVERWIRE_DEEP ? deepWorlds : {}) }))
  models[name] = () => search(ownership(bounds), { limit: 3_000_000 })

for (const [name, find] of Object.entries(models))
  test(`handover holds in every state: ${name}`, { timeout: 600_000 }, (t) => {
    const { states, violation, trace } = find()
    t.equal(violation, undefined, `${states} states`, { trace })
    t.end()
  })

// An invariant that cannot fail is worth nothing: each of these mistakes must be found, by the invariant it breaks.
for (const { name, violates, find } of mutants)
  test(`finds the mistake: ${name}`, (t) => {
    const { states, violation, trace } = find()
    t.ok(violation?.startsWith(violates), `${violation}, after ${trace.length} steps and ${states} states`, {
      trace,
    })
    t.end()
  })
