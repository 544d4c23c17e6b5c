/*
 * Handover as small models, each searched to its last state. A message that was sent stays: it may arrive at any time,
 * any number of times, or never, so loss, doubles and delay need no steps of their own. What has a limit (attempts,
 * takes, crashes, …) is limited by `Bounds`. A rule of the protocol can be broken by name, to see that it is needed.
 */

export interface Step<State> {
  label: string
  state: State
}

export interface Model<State> {
  initial: State
  /** Everything that may happen next and changes anything. */
  steps(state: State): Step<State>[]
  /** What must never be: the number of the invariant, and why. */
  violation(state: State): string | undefined
}

export interface Finding {
  states: number
  violation: string | undefined
  /** The shortest way there. */
  trace: string[]
}

/** Short names for states. Most of a state is shared with its neighbours, and need not be spelled out again. */
function createNames() {
  const numbers = new Map<string, number>()
  const known = new WeakMap<object, number>()
  const numberOf = (part: object): number => {
    let number = known.get(part)
    if (number !== undefined) return number
    const text = JSON.stringify(part)
    number = numbers.get(text) ?? numbers.size
    numbers.set(text, number)
    known.set(part, number)
    return number
  }
  const nameOf = (part: unknown): string =>
    typeof part === 'object' && part !== null ? String(numberOf(part)) : String(part)
  return (state: object): string =>
    Object.values(state)
      // Nodes one by one: a step changes one of them.
      .map((part) =>
        Array.isArray(part) && typeof part[0] === 'object' ? part.map(nameOf).join() : nameOf(part),
      )
      .join(' ')
}

/**
 * Breadth first, so that what is found first is as short as it can be.
 *
 * @param invariant looks for a violation of this one only
 */
export function search<State extends object>(
  { initial, steps, violation }: Model<State>,
  { invariant = '', limit = 1_000_000 }: { invariant?: string; limit?: number } = {},
): Finding {
  const cameBy: { label: string; parent: number }[] = []
  const seen = new Set<string>()
  const keyOf = createNames()
  const frontier: { state: State; index: number }[] = []
  const traceTo = (index: number): string[] => {
    const trace: string[] = []
    for (let at = index; at > 0; at = cameBy[at]!.parent) trace.unshift(cameBy[at]!.label)
    return trace
  }
  const visit = (state: State, label: string, parent: number): Finding | undefined => {
    const key = keyOf(state)
    if (seen.has(key)) return undefined
    seen.add(key)
    const index = cameBy.push({ label, parent }) - 1
    const found = violation(state)
    if (found?.startsWith(invariant)) return { states: seen.size, violation: found, trace: traceTo(index) }
    if (index >= limit) return { states: seen.size, violation: `more than ${limit} states`, trace: [] }
    frontier.push({ state, index })
    return undefined
  }
  let found = visit(initial, '', -1)
  for (let at = 0; !found && at < frontier.length; at++) {
    const { state, index } = frontier[at]!
    for (const step of steps(state)) found ??= visit(step.state, step.label, index)
    delete frontier[at] // the memory is needed
  }
  return found ?? { states: seen.size, violation: undefined, trace: [] }
}

const replace = <T>(list: readonly T[], index: number, changes: Partial<T>): T[] =>
  list.map((item, at) => (at === index ? { ...item, ...changes } : item))

/*
 * Who owns the session. One secret, one client, three nodes; each attach may land on any node.
 */

export type OwnershipRule =
  | 'an answer counts only while its request is pending'
  | 'giving up is final'
  | 'what was taken is never taken back'
  | 'the kept bundle is for one node'
  | 'the kept bundle is for one attempt'
  | 'a take that was refused is never granted'
  | 'a bundle is kept while its take is pending'
  | 'tombstones outlive bundles'
  | 'a restart changes the id'
  | 'the client numbers its attaches'
  | 'one take at a time'
  | 'who says lost refuses that attempt for good'
  | 'the own tombstone comes before the hint'
  | 'what came from a node may be given back to it under the same number'
  | 'a draining node stays until all have its note'
  | 'a node starts with the notes of the others'

export interface Bounds {
  nodes: number
  /** Attaches after the first. */
  attaches: number
  takes: number
  crashes?: number
  restarts?: number
  drains?: number
  ends?: number
  /** A narrower world: a deep mistake is found sooner in it, and is one in the wide world too. */
  only?: {
    /** Where the first attach lands, the second, … */
    attaches?: string
    crashes?: string
    drains?: string
  }
}

interface Pending {
  request: string
  /** Whom it asks. */
  at: string
  gen: number
  hops: number
  /** A draining node asked for it, no client. */
  give: boolean
  /** The newest attach that waits for the outcome. */
  newest: number
}

interface OwnershipNode {
  id: string
  up: boolean
  draining: boolean
  place: 'none' | 'owner' | 'moved' | 'ended'
  /** Of the session or of its tombstone. */
  gen: number
  /** Where it moved. */
  to: string
  /** Which attempt of the client holds the link: gen, unless somebody else numbers. */
  attempt: number
  /** Highest attempt that was told lost here. */
  told: number
  /** Highest attempt whose take was answered without the bundle: a copy of it may come later. */
  refused: number
  kept: { to: string; gen: number } | null
  pending: Pending[]
  takes: number
  /** Requests that were given up. */
  abandoned: string[]
  /** 'A>B': the session that A had is at B. */
  notes: string[]
}

type MessageKind =
  | 'attach'
  | 'peek'
  | 'info'
  | 'moved'
  | 'unknown'
  | 'retry'
  | 'stale'
  | 'ended'
  | 'take'
  | 'bundle'
  | 'pull'
  | 'note'
  | 'welcome'
  | 'lost'

interface Message {
  kind: MessageKind
  from: string
  to: string
  gen: number
  request: string
  /** A hint, where it moved, which attempt: depends on the kind. */
  about: string
  give: boolean
}

interface Ownership {
  nodes: OwnershipNode[]
  client: { gen: number; hint: string; linked: number; over: boolean }
  sent: string[]
  /** The highest attempt that any owner accepted. */
  accepted: number
  left: Required<Omit<Bounds, 'nodes' | 'only'>>
  /** The session may be lost, if the client is told so. */
  mayBeLost: boolean
  /** A node died: hints and notes through it lead nowhere. */
  crashed: boolean
  ended: boolean
}

const client = 'client'

export function ownership({ nodes, only = {}, ...limits }: Bounds, broken?: OwnershipRule): Model<Ownership> {
  const holds = (rule: OwnershipRule) => rule !== broken
  const messages = new Map<string, Message>()

  const send = (
    state: Ownership,
    kind: MessageKind,
    to: string,
    gen: number,
    { from = '', request = '', about = '', give = false }: Partial<Message> = {},
  ): Ownership => {
    const key = `${kind} ${from}>${to} ${gen} ${request} ${about}${give ? ' give' : ''}`
    if (state.sent.includes(key)) return state
    if (!messages.has(key)) messages.set(key, { kind, from, to, gen, request, about, give })
    return { ...state, sent: [...state.sent, key].sort() }
  }
  const change = (state: Ownership, at: number, changes: Partial<OwnershipNode>): Ownership => ({
    ...state,
    nodes: replace(state.nodes, at, changes),
  })
  const indexOf = (state: Ownership, id: string) => state.nodes.findIndex((node) => node.up && node.id === id)
  const ready = (node: OwnershipNode) => node.up && !node.draining
  const without = (node: OwnershipNode, request: string) =>
    node.pending.filter((pending) => pending.request !== request)
  const isStale = (node: OwnershipNode, gen: number) =>
    holds('the client numbers its attaches') && gen <= node.gen

  // The client's side.
  const attachable = ({ client, left }: Ownership, { id, up }: OwnershipNode) =>
    up && !client.over && left.attaches > 0 && (only.attaches?.at(-left.attaches) ?? id) === id
  const startAttach = (state: Ownership, node: OwnershipNode): Ownership => {
    const gen = state.client.gen + 1
    const left = { ...state.left, attaches: state.left.attaches - 1 }
    const next = { ...state, left, client: { ...state.client, gen } }
    return send(next, 'attach', node.id, gen, { about: state.client.hint })
  }
  const hear = (state: Ownership, { kind, gen, from }: Message): Ownership => {
    const { client } = state
    if (gen !== client.gen || client.over || client.linked === gen) return state
    return {
      ...state,
      client: kind === 'welcome' ? { ...client, hint: from, linked: gen } : { ...client, over: true },
    }
  }

  // A node that a client comes to.
  const accept = (state: Ownership, at: number, attempt: number, gen = attempt): Ownership => {
    const node = state.nodes[at]!
    const number = holds('the client numbers its attaches') ? gen : node.gen + 1
    const next = change(state, at, { gen: number, attempt })
    const accepted = Math.max(state.accepted, attempt)
    return send({ ...next, accepted }, 'welcome', client, attempt, { from: node.id })
  }
  const sayLost = (state: Ownership, at: number, gen: number): Ownership => {
    const { id, told } = state.nodes[at]!
    const mayBeLost = state.mayBeLost || gen === state.client.gen
    const next = change({ ...state, mayBeLost }, at, { told: Math.max(told, gen) })
    return send(next, 'lost', client, gen, { from: id })
  }
  const ask = (state: Ownership, at: number, target: string, gen: number, hops: number): Ownership => {
    const node = state.nodes[at]!
    if (target === node.id || hops > 3) return sayLost(state, at, gen)
    if (indexOf(state, target) < 0) {
      const note = node.notes.find((note) => note.startsWith(`${target}>`))
      return note ? ask(state, at, note.slice(target.length + 1), gen, hops + 1) : sayLost(state, at, gen)
    }
    const request = `${node.id}?${target}${hops}`
    const pending: Pending = { request, at: target, gen, hops, give: false, newest: gen }
    const next = change(state, at, { pending: [...node.pending, pending] })
    return send(next, 'peek', target, gen, { from: node.id, request })
  }
  const attach = (state: Ownership, at: number, { gen, about: hint }: Message): Ownership => {
    const node = state.nodes[at]!
    if (isStale(node, gen)) return state
    if (gen <= node.told && holds('who says lost refuses that attempt for good')) return state
    if (node.place === 'owner') return accept(state, at, gen)
    if (node.pending.length > 0 && holds('one take at a time')) {
      const pending = node.pending.map((one) => ({ ...one, newest: Math.max(one.newest, gen) }))
      return change(state, at, { pending })
    }
    if (node.draining) return state
    if (node.place === 'ended') return send(state, 'ended', client, gen, { from: node.id })
    const followsOwn =
      node.place === 'moved' && (hint === node.id || holds('the own tombstone comes before the hint'))
    return ask(state, at, followsOwn ? node.to : hint, gen, 0)
  }

  // The node that is asked.
  const answer = (node: OwnershipNode, { kind, gen, give }: Message): MessageKind => {
    if (isStale(node, gen) && !(give && node.place === 'owner' && node.draining && gen === node.gen))
      return 'stale'
    if (node.place === 'owner' && kind === 'peek') return 'info'
    if (node.place === 'owner') return gen <= node.refused && !give ? 'stale' : 'bundle'
    if (node.pending.length > 0) return 'retry'
    return node.place === 'none' ? 'unknown' : node.place
  }
  const repeats = ({ kept, place }: OwnershipNode, { kind, from, gen }: Message) =>
    kind === 'take' &&
    place !== 'owner' &&
    kept !== null &&
    (kept.to === from || !holds('the kept bundle is for one node')) &&
    (kept.gen === gen || !holds('the kept bundle is for one attempt'))
  const refuse = (state: Ownership, at: number, gen: number): Ownership => {
    const node = state.nodes[at]!
    const known = node.place !== 'none' || node.pending.length > 0
    const keeps =
      known && !isStale(node, gen) && gen > node.refused && holds('a take that was refused is never granted')
    return keeps ? change(state, at, { refused: gen }) : state
  }
  const respond = (state: Ownership, at: number, message: Message): Ownership => {
    const node = state.nodes[at]!
    const { from: asker, request, gen } = message
    const reply = { from: node.id, request }
    const attempt = String(node.attempt)
    if (repeats(node, message)) return send(state, 'bundle', asker, gen, { ...reply, about: attempt })
    const kind = answer(node, message)
    if (kind !== 'bundle') {
      const about = kind === 'moved' ? node.to : ''
      return send(message.kind === 'take' ? refuse(state, at, gen) : state, kind, asker, gen, {
        ...reply,
        about,
      })
    }
    const number = holds('the client numbers its attaches') ? gen : node.gen + 1
    const next = change(state, at, { place: 'moved', to: asker, gen: number, kept: { to: asker, gen } })
    return send(next, 'bundle', asker, number, { ...reply, about: attempt })
  }

  // The node that asked.
  const take = (state: Ownership, at: number, pending: Omit<Pending, 'request'>): Ownership => {
    const node = state.nodes[at]!
    if (state.left.takes === 0) return state
    const takes = node.takes + 1
    const request = `${node.id}#${takes}`
    const left = { ...state.left, takes: state.left.takes - 1 }
    const next = change({ ...state, left }, at, {
      takes,
      kept: null,
      pending: [...node.pending, { ...pending, request }],
    })
    return send(next, 'take', pending.at, pending.gen, { from: node.id, request, give: pending.give })
  }
  /** The attach that a take is for, 0 when nobody but a draining node wants it. */
  const attemptOf = ({ give, gen, newest }: Pending) => (give && newest === gen ? 0 : newest)
  const activate = (
    state: Ownership,
    at: number,
    message: Message,
    pending: Pending | undefined,
  ): Ownership => {
    const attempt = pending ? attemptOf(pending) : message.gen
    const next = change(state, at, {
      place: 'owner',
      to: '',
      gen: message.gen,
      attempt: Number(message.about),
      pending: without(state.nodes[at]!, message.request),
    })
    return attempt > 0 ? accept(next, at, attempt, Math.max(attempt, message.gen)) : next
  }
  const conclude = (state: Ownership, at: number, message: Message): Ownership => {
    const node = state.nodes[at]!
    const pending = node.pending.find(({ request }) => request === message.request)
    if (message.kind === 'bundle') {
      const late =
        !holds('an answer counts only while its request is pending') ||
        (!holds('giving up is final') && node.abandoned.includes(message.request))
      return pending || (late && node.place !== 'owner') ? activate(state, at, message, pending) : state
    }
    if (!pending) return state
    const over = change(state, at, { pending: without(node, message.request) })
    const { newest, hops } = pending
    if (message.kind === 'info') return node.draining ? over : take(over, at, { ...pending, gen: newest })
    if (attemptOf(pending) === 0) return over
    if (message.kind === 'moved') return ask(over, at, message.about, newest, hops + 1)
    if (message.kind === 'unknown') return sayLost(over, at, newest)
    if (message.kind === 'ended') return send(over, 'ended', client, newest, { from: node.id })
    return over
  }
  const giveUp = (state: Ownership, at: number, pending: Pending): Ownership => {
    const node = state.nodes[at]!
    const isGone = indexOf(state, pending.at) < 0
    const to = isGone && node.notes.find((note) => note.startsWith(`${pending.at}>`))?.split('>')[1]
    // Only to another node: what was given to this one is lost.
    if (to && to !== node.id && attemptOf(pending) > 0) {
      const asked = change(state, at, { pending: without(node, pending.request) })
      return ask(asked, at, to, pending.newest, pending.hops + 1)
    }
    const over = change({ ...state, mayBeLost: true }, at, {
      pending: without(node, pending.request),
      abandoned: holds('giving up is final') ? [] : [...node.abandoned, pending.request],
    })
    return attemptOf(pending) === 0 ? over : sayLost(over, at, pending.newest)
  }

  // Draining.
  const pulled = (state: Ownership, at: number, { from, gen }: Message): Ownership => {
    const node = state.nodes[at]!
    if (node.place === 'owner' || node.pending.length > 0) return state
    if (node.draining) return state
    const cameFromHere =
      node.place === 'moved' &&
      node.to === from &&
      node.gen === gen &&
      holds('what came from a node may be given back to it under the same number')
    if (isStale(node, gen) && !cameFromHere) return state
    return take(state, at, { at: from, gen, hops: 0, give: true, newest: gen })
  }
  const noted = (state: Ownership, at: number, { about }: Message): Ownership => {
    const notes = new Set([...state.nodes[at]!.notes, about])
    return change(state, at, { notes: [...notes].sort() })
  }
  const noteOf = ({ id, to }: OwnershipNode) => `${id}>${to}`
  const mayLeave = (state: Ownership, node: OwnershipNode) => {
    if (node.place === 'owner' || node.pending.length > 0) return false
    if (node.place !== 'moved') return true
    const others = state.nodes.filter((other) => other.up && other !== node)
    return holds('a draining node stays until all have its note')
      ? others.every(({ notes }) => notes.includes(noteOf(node)))
      : others.every(({ id }) => state.sent.some((key) => key.startsWith(`note ${node.id}>${id} `)))
  }
  const empty = (id: string, up = true): OwnershipNode => ({
    id,
    up,
    draining: false,
    place: 'none',
    gen: 0,
    to: '',
    attempt: 0,
    told: 0,
    refused: 0,
    kept: null,
    pending: [],
    takes: 0,
    abandoned: [],
    notes: [],
  })
  const restart = (state: Ownership, at: number): Ownership => {
    const { id } = state.nodes[at]!
    const notes = new Set(state.nodes.flatMap((node) => (node.up ? node.notes : [])))
    return change(state, at, {
      ...empty(holds('a restart changes the id') ? `${id}'` : id),
      notes: holds('a node starts with the notes of the others') ? [...notes].sort() : [],
    })
  }

  const receive: Record<MessageKind, (state: Ownership, at: number, message: Message) => Ownership> = {
    attach,
    peek: respond,
    take: respond,
    info: conclude,
    moved: conclude,
    unknown: conclude,
    retry: conclude,
    stale: conclude,
    bundle: conclude,
    ended: conclude,
    pull: pulled,
    note: noted,
    welcome: (state) => state,
    lost: (state) => state,
  }
  const deliver = (state: Ownership, key: string): Ownership => {
    const message = messages.get(key)!
    if (message.to === client) return hear(state, message)
    const at = indexOf(state, message.to)
    return at < 0 ? state : receive[message.kind](state, at, message)
  }

  /** Forgets messages that can have no effect any more: fewer states that differ in nothing else. */
  const mayMatter = (state: Ownership, key: string): boolean => {
    const { kind, from, to, gen, request, give } = messages.get(key)!
    if (to === client) return gen === state.client.gen && !state.client.over && state.client.linked < gen
    if (kind === 'bundle' && broken) return true
    const pendingAt = (id: string) =>
      state.nodes.some(
        (node) => node.up && node.id === id && node.pending.some((one) => one.request === request),
      )
    if (kind === 'peek') return pendingAt(from)
    const at = indexOf(state, to)
    if (at < 0) return !holds('a restart changes the id')
    const node = state.nodes[at]!
    if (kind === 'take' && !broken && !pendingAt(from))
      return !isStale(node, gen) || (give && gen === node.gen)
    return kind === 'attach' || kind === 'take' || kind === 'pull' || kind === 'note' || pendingAt(to)
  }
  const tidy = (state: Ownership): Ownership => {
    const sent = state.sent.filter((key) => mayMatter(state, key))
    return sent.length === state.sent.length ? state : { ...state, sent }
  }

  const isWithOwner = ({ nodes, client }: Ownership) =>
    client.linked === client.gen &&
    nodes.some(({ up, id, place }) => up && id === client.hint && place === 'owner')
  const isOldest = ({ nodes }: Ownership, { gen }: OwnershipNode) =>
    nodes.every(({ place, gen: other }) => place === 'none' || place === 'owner' || other >= gen)
  const resting = ({ nodes }: Ownership) => nodes.every(({ kept, pending }) => !kept && pending.length === 0)
  /** A resume window has passed: what is asked or kept for seconds is long gone, and the client knows its node. */
  const windowPassed = (state: Ownership) => resting(state) && (state.client.over || isWithOwner(state))

  const isAwaited = ({ nodes }: Ownership, { id, kept }: OwnershipNode) =>
    nodes.some(
      (node) => node.id === kept?.to && node.pending.some((one) => one.at === id && one.gen === kept.gen),
    )

  const timers = (state: Ownership, at: number): Step<Ownership>[] => {
    const node = state.nodes[at]!
    const steps: Step<Ownership>[] = []
    const may = (label: string, next: Ownership) => steps.push({ label: `${node.id} ${label}`, state: next })
    for (const pending of node.pending)
      if (pending.request.includes('?'))
        may('answers retry', change(state, at, { pending: without(node, pending.request) }))
      else may(`gives up ${pending.request}`, giveUp(state, at, pending))
    if (node.kept && !(isAwaited(state, node) && holds('a bundle is kept while its take is pending')))
      may('forgets the bundle', change(state, at, { kept: null }))
    if (node.kept && node.place === 'moved' && !holds('what was taken is never taken back'))
      may('takes the session back', change(state, at, { place: 'owner', kept: null }))
    const forgets = (windowPassed(state) && isOldest(state, node)) || !holds('tombstones outlive bundles')
    if (forgets && (node.place === 'moved' || node.place === 'ended'))
      may('forgets the tombstone', change(state, at, { place: 'none', gen: 0, to: '' }))
    return steps
  }
  const operator = (state: Ownership, at: number): Step<Ownership>[] => {
    const node = state.nodes[at]!
    const { left } = state
    const steps: Step<Ownership>[] = []
    const may = (label: string, next: Ownership) => steps.push({ label: `${node.id} ${label}`, state: next })
    const others = state.nodes.filter((other) => other.up && other !== node)
    if (node.place === 'owner' && left.ends > 0)
      may('ends the session', {
        ...change(state, at, { place: 'ended' }),
        left: { ...left, ends: left.ends - 1 },
        ended: true,
        mayBeLost: true,
      })
    if (left.crashes > 0 && (only.crashes ?? node.id).includes(node.id))
      may('crashes', {
        ...change(state, at, empty(node.id, false)),
        left: { ...left, crashes: left.crashes - 1 },
        mayBeLost: true,
        crashed: true,
      })
    if (!node.draining && left.drains > 0 && (only.drains ?? node.id).includes(node.id) && others.some(ready))
      may('starts to drain', {
        ...change(state, at, { draining: true }),
        left: { ...left, drains: left.drains - 1 },
      })
    if (!node.draining) return steps
    if (node.place === 'owner')
      for (const other of others.filter(ready))
        may(`offers it to ${other.id}`, send(state, 'pull', other.id, node.gen, { from: node.id }))
    if (node.place === 'moved' && node.pending.length === 0) {
      let told = state
      for (const { id } of others) told = send(told, 'note', id, 0, { from: node.id, about: noteOf(node) })
      may('sends its notes', told)
    }
    if (mayLeave(state, node)) may('says bye', change(state, at, empty(node.id, false)))
    return steps
  }

  const candidates = (state: Ownership): Step<Ownership>[] => [
    ...state.sent.map((key) => ({ label: key.trim(), state: deliver(state, key) })),
    ...state.nodes.flatMap((node, at) => {
      if (node.up) return [...timers(state, at), ...operator(state, at)]
      if (state.left.restarts === 0) return []
      const left = { ...state.left, restarts: state.left.restarts - 1 }
      return [{ label: `${node.id} restarts`, state: { ...restart(state, at), left } }]
    }),
    ...state.nodes
      .filter((node) => attachable(state, node))
      .map((node) => ({ label: `client attaches at ${node.id}`, state: startAttach(state, node) })),
  ]

  /** Nothing is lost, doubled or late any more. */
  const settle = (state: Ownership) => {
    let now = state
    let told = 'no answer'
    for (let steps = 0; now.sent.length > 0 && steps < 50; steps++) {
      const [key, ...rest] = now.sent
      const { kind, to } = messages.get(key!)!
      if (to === client) told = kind
      now = deliver({ ...now, sent: rest }, key!)
    }
    return { now, told }
  }
  /** Everything in flight is lost, then the network is good. */
  const good = (state: Ownership): Ownership => ({
    ...state,
    sent: [],
    left: { ...state.left, attaches: 1, takes: 9 },
  })
  const outcomes = new Map<string, string>()
  const outcomeKey = createNames()
  const remember = (what: string, { nodes, client }: Ownership, find: () => string): string => {
    const key = `${what} ${outcomeKey({ nodes, client })}`
    const outcome = outcomes.get(key) ?? find()
    outcomes.set(key, outcome)
    return outcome
  }
  const attachAt = (state: Ownership, node: OwnershipNode) => settle(startAttach(good(state), node)).told
  const giveTo = (state: Ownership, from: OwnershipNode, to: OwnershipNode): boolean => {
    const { now } = settle(send(good(state), 'pull', to.id, from.gen, { from: from.id }))
    return now.nodes[indexOf(now, to.id)]!.place === 'owner'
  }
  const canGive = (state: Ownership, from: OwnershipNode) =>
    state.nodes.filter(ready).some((to) => giveTo(state, from, to)) ? 'yes' : 'no'
  const whenQuiet = (state: Ownership, owners: number): string | undefined => {
    if (owners === 0 && !state.mayBeLost) return '9: nobody has the session, and nobody said so'
    const leaving = state.nodes.find(({ place, draining }) => place === 'owner' && draining)
    if (leaving && state.nodes.some(ready) && remember('give', state, () => canGive(state, leaving)) === 'no')
      return `10: ${leaving.id} drains, and no ready node takes the session`
    if (state.client.over) return undefined
    for (const node of state.nodes.filter(ready)) {
      const outcome = remember(node.id, state, () => attachAt(state, node))
      const expected = owners === 1 && !state.crashed ? ['welcome'] : ['welcome', 'lost', 'ended']
      const invariant = state.left.drains < (limits.drains ?? 0) ? '10' : '9'
      if (!expected.includes(outcome))
        return `${invariant}: an attach at ${node.id} ends with ${outcome}, ${owners} nodes have the session`
    }
    return undefined
  }

  return {
    initial: {
      nodes: ['A', 'B', 'C']
        .slice(0, nodes)
        .map((id) => (id === 'A' ? { ...empty(id), place: 'owner', gen: 1, attempt: 1 } : empty(id))),
      client: { gen: 1, hint: 'A', linked: 1, over: false },
      sent: [],
      accepted: 1,
      left: { crashes: 0, restarts: 0, drains: 0, ends: 0, ...limits },
      mayBeLost: false,
      crashed: false,
      ended: false,
    },
    steps: (state) =>
      candidates(state)
        .filter((step) => step.state !== state)
        .map(({ label, state }) => ({ label, state: tidy(state) })),
    violation(state) {
      const owners = state.nodes.filter(({ up, place }) => up && place === 'owner')
      if (owners.length > 1) return `7: ${owners.map(({ id }) => id).join(' and ')} both own the session`
      const [owner] = owners
      if (owner && state.ended) return `7: ${owner.id} owns a session that was ended`
      if (owner && owner.attempt === owner.told)
        return `11: ${owner.id} owns the session by attempt ${owner.told}, which it told lost`
      if (owner && owner.attempt < state.accepted)
        return `9: attempt ${owner.attempt} holds the link, though ${state.accepted} was welcomed`
      if (state.nodes.some(({ pending }) => pending.length > 0)) return undefined
      return whenQuiet(state, owners.length)
    },
  }
}

/*
 * What a session holds while it moves from O to N: frames down by number, operations up by number. The client's uplink
 * may be repeated at any node at any time; methods and the history store take as long as they like.
 */

export type ContentRule =
  | 'what is removed leaves a void'
  | 'the old owner numbers nothing after the bundle'
  | 'the old owner applies nothing after the bundle'
  | 'the bundle names the unanswered operations'
  | 'the new owner repeats no request'
  | 'lost answers every operation'

interface Holder {
  place: 'none' | 'owner' | 'moved' | 'gone'
  /** Frames by number, from 1. */
  out: string[]
  applied: number
  /** By uplink number: what the session waits for. */
  open: number[]
}

interface Content {
  holders: [Holder, Holder]
  /** How far the handover is. */
  phase: 'before' | 'asked' | 'bundled' | 'over' | 'given up'
  bundle: Holder | null
  client: { cursor: number; posted: number; at: number; lost: boolean }
  /** By uplink number: how often the client was answered, and how often a method ran. */
  answers: number[]
  runs: number[]
  /** What each number meant when it was given. */
  meant: string[]
  published: boolean
  crashed: boolean
  wrong: string
}

const operations = ['request', 'history'] as const

export function content(broken?: ContentRule): Model<Content> {
  const holds = (rule: ContentRule) => rule !== broken
  const names = ['O', 'N']
  const hold = (state: Content, at: number, changes: Partial<Holder>): Content => ({
    ...state,
    holders: replace(state.holders, at, changes) as [Holder, Holder],
  })
  const count = (list: number[], operation: number) =>
    list.map((times, at) => (at === operation - 1 ? times + 1 : times))

  const number = (state: Content, at: number, frame: string): Content => {
    const out = [...state.holders[at]!.out, frame]
    const meant = state.meant[out.length - 1]
    const next = hold(state, at, { out })
    if (meant === undefined) return { ...next, meant: [...state.meant, frame] }
    return { ...next, wrong: `8: number ${out.length} meant ${meant}, and ${names[at]} gives it to ${frame}` }
  }
  const start = (state: Content, operation: number): Content =>
    operations[operation - 1] === 'request' ? { ...state, runs: count(state.runs, operation) } : state
  const apply = (state: Content, at: number, operation: number): Content => {
    const { open } = state.holders[at]!
    const next = start(hold(state, at, { applied: operation, open: [...open, operation] }), operation)
    const again = state.holders.some(({ applied, place }) => place !== 'gone' && applied >= operation)
    return again ? { ...next, wrong: `8: ${names[at]} applies uplink ${operation}, which was applied` } : next
  }
  const mayApply = ({ place }: Holder) =>
    place === 'owner' || (place === 'moved' && !holds('the old owner applies nothing after the bundle'))
  /** A method or the store is ready: the answer gets a number, if the session is still here. */
  const finish = (state: Content, at: number, operation: number): Content => {
    const { open, place } = state.holders[at]!
    const next = hold(state, at, { open: open.filter((other) => other !== operation) })
    const numbers = place === 'owner' || !holds('the old owner numbers nothing after the bundle')
    return numbers ? number(next, at, `answer ${operation}`) : next
  }
  /** The new owner may not show the publication any more: its number stays. */
  const revoke = (out: string[]) =>
    out.flatMap((frame) =>
      frame !== 'message' ? [frame] : holds('what is removed leaves a void') ? ['void'] : [],
    )
  const activate = (state: Content, bundle: Holder): Content => {
    const open = holds('the bundle names the unanswered operations') ? bundle.open : []
    let next = hold({ ...state, phase: 'over', bundle: null }, 1, {
      ...bundle,
      out: revoke(bundle.out),
      open: [],
    })
    for (const operation of open)
      if (operations[operation - 1] === 'history' || !holds('the new owner repeats no request'))
        next = start(hold(next, 1, { open: [...next.holders[1].open, operation] }), operation)
      else next = number(next, 1, `answer ${operation}`)
    return { ...next, client: { ...next.client, at: 1 } }
  }
  const read = (state: Content): Content => {
    const { client, meant, answers } = state
    const frame = state.holders[client.at]!.out[client.cursor]!
    const cursor = client.cursor + 1
    const next = { ...state, client: { ...client, cursor } }
    if (frame !== 'void' && frame !== meant[cursor - 1])
      return {
        ...next,
        wrong: `8: the client counts ${frame} as ${cursor}, which meant ${meant[cursor - 1]}`,
      }
    return frame.startsWith('answer') ? { ...next, answers: count(answers, Number(frame.slice(7))) } : next
  }
  /** Requests reject as outcome-unknown, publications with history are sent again in a new session and answered there. */
  const tellLost = (state: Content): Content => {
    const answers = state.answers.map((times, at) => (at < state.client.posted && times === 0 ? 1 : times))
    return {
      ...state,
      client: { ...state.client, lost: true },
      answers: holds('lost answers every operation') ? answers : state.answers,
    }
  }

  const steps = (state: Content): Step<Content>[] => {
    const { client, holders, phase } = state
    const found: Step<Content>[] = []
    const may = (label: string, next: Content) => found.push({ label, state: next })
    if (client.posted < operations.length && !client.lost)
      may(`client posts ${operations[client.posted]}`, {
        ...state,
        client: { ...client, posted: client.posted + 1 },
      })
    holders.forEach((holder, at) => {
      const name = names[at]!
      const next = holder.applied + 1
      if (mayApply(holder) && next <= client.posted) may(`${name} applies ${next}`, apply(state, at, next))
      for (const operation of holder.place === 'gone' ? [] : holder.open)
        may(`${name} finishes ${operation}`, finish(state, at, operation))
      if (holder.place === 'owner' && !state.published)
        may(`${name} numbers a message`, number({ ...state, published: true }, at, 'message'))
    })
    const [owner] = holders
    if (phase === 'before') may('N asks O for the session', { ...state, phase: 'asked' })
    if ((phase === 'asked' || phase === 'given up') && owner.place === 'owner')
      may('O gives the bundle', {
        ...hold(state, 0, { place: 'moved' }),
        ...(phase === 'asked' ? { phase: 'bundled', bundle: owner } : {}),
      })
    if (state.bundle) may('N has the bundle', activate(state, state.bundle))
    if (phase === 'asked' || phase === 'bundled')
      may('N gives up', { ...state, phase: 'given up', bundle: null })
    const dead = holders[client.at]!.place === 'gone' && phase !== 'bundled'
    if (!client.lost && (phase === 'given up' || dead)) may('client is told lost', tellLost(state))
    if (
      !client.lost &&
      holders[client.at]!.place !== 'gone' &&
      client.cursor < holders[client.at]!.out.length
    )
      may(`client reads ${client.cursor + 1}`, read(state))
    return found
  }
  const crashes = (state: Content): Step<Content>[] =>
    state.holders.flatMap(({ place }, at) =>
      place === 'owner' && !state.crashed
        ? [{ label: `${names[at]} crashes`, state: { ...hold(state, at, { place: 'gone' }), crashed: true } }]
        : [],
    )
  const wrongInTheEnd = ({ answers, client }: Content): string | undefined => {
    const at = answers.findIndex((times, at) => at < client.posted && times !== 1)
    return at < 0 ? undefined : `11: ${operations[at]} ${at + 1} got ${answers[at]} answers`
  }
  const nothing = operations.map(() => 0)
  const fresh: Holder = { place: 'none', out: [], applied: 0, open: [] }
  return {
    initial: {
      holders: [{ ...fresh, place: 'owner' }, fresh],
      phase: 'before',
      bundle: null,
      client: { cursor: 0, posted: 0, at: 0, lost: false },
      answers: nothing,
      runs: nothing,
      meant: [],
      published: false,
      crashed: false,
      wrong: '',
    },
    steps: (state) => [...steps(state), ...crashes(state)],
    violation(state) {
      if (state.wrong) return state.wrong
      if (state.answers.some((times) => times > 1)) return '11: an operation got two answers'
      if (state.runs.some((times) => times > 1)) return '11: a method ran twice for one request'
      return steps(state).length === 0 ? wrongInTheEnd(state) : undefined
    },
  }
}

/*
 * Where a live channel is cut. Two publisher runs; a way from a publisher to a node keeps its order, and drops what was
 * published before the publisher's side knew of the node's interest. Nothing else is lost here: so nothing may be
 * missing, double, or told as a gap.
 */

export type LiveCutRule =
  | 'the cut is a vector'
  | 'a barrier, not a flush, before the take'
  | "the owner's barrier before the cut"
  | 'what comes late is held against the cut'

/** A publication by its number, or the answer to a barrier. */
type OnTheWay = number | 'here'

interface Run {
  published: number
  /** The publisher's side knows that N listens. */
  knowsN: boolean
  toO: OnTheWay[]
  toN: OnTheWay[]
  /** Whom the run has yet to answer, or whose answer is on the way. */
  barrierN: 'idle' | 'asked' | 'answered' | 'done'
  barrierO: 'idle' | 'asked' | 'answered' | 'done'
  /** What N keeps until it knows the cut. */
  buffer: number[]
  /** What the client was given, in order. */
  given: number[]
  /** Number up to which the owner delivered: one part of the vector. */
  last: number
}

interface LiveCut {
  runs: Run[]
  phase: 'before' | 'joined' | 'asked' | 'cutting' | 'bundled' | 'over'
  gap: boolean
}

export function liveCut(publications: number, broken?: LiveCutRule): Model<LiveCut> {
  const holds = (rule: LiveCutRule) => rule !== broken
  const change = (state: LiveCut, at: number, changes: Partial<Run>): LiveCut => ({
    ...state,
    runs: replace(state.runs, at, changes),
  })
  const every = (state: LiveCut, changes: Partial<Run>) => state.runs.map((run) => ({ ...run, ...changes }))

  const publish = (state: LiveCut, at: number): LiveCut => {
    const { published, knowsN, toO, toN } = state.runs[at]!
    const number = published + 1
    const known = knowsN ? [...toN, number] : toN
    const listens = state.phase !== 'bundled' && state.phase !== 'over'
    return change(state, at, { published: number, toO: listens ? [...toO, number] : [], toN: known })
  }
  /** A publication names its predecessor, so that a hole before it is seen. */
  const deliver = (state: LiveCut, at: number, number: number): LiveCut => {
    const { last, given } = state.runs[at]!
    if (number <= last && holds('what comes late is held against the cut')) return state
    const next = change(state, at, { last: Math.max(last, number), given: [...given, number] })
    return number === last + 1 || number <= last ? next : { ...next, gap: true }
  }
  const arriveO = (state: LiveCut, at: number): LiveCut => {
    const [first, ...toO] = state.runs[at]!.toO
    if (first === 'here') return change(state, at, { toO, barrierO: 'done' })
    return deliver(change(state, at, { toO }), at, first!)
  }
  const arriveN = (state: LiveCut, at: number): LiveCut => {
    const { buffer, toN: way } = state.runs[at]!
    const [first, ...toN] = way
    if (first === 'here') return change(state, at, { toN, barrierN: 'done' })
    if (state.phase === 'over') return deliver(change(state, at, { toN }), at, first!)
    return change(state, at, { toN, buffer: [...buffer, first!] })
  }
  /** The fencing turn: from here on O delivers nothing, and what comes to it is nobody's. */
  const cut = (state: LiveCut): LiveCut => {
    const one = Math.max(...state.runs.map(({ last }) => last))
    const runs = state.runs.map((run) => ({
      ...run,
      toO: [],
      barrierO: 'idle' as const,
      last: holds('the cut is a vector') ? run.last : one,
    }))
    return { ...state, runs, phase: 'bundled' }
  }
  const activate = (state: LiveCut): LiveCut => {
    let next: LiveCut = { ...state, runs: every(state, { buffer: [] }), phase: 'over' }
    state.runs.forEach(({ buffer }, at) => {
      for (const number of buffer) next = deliver(next, at, number)
    })
    return next
  }

  const ofRun = (state: LiveCut, at: number): Step<LiveCut>[] => {
    const run = state.runs[at]!
    const name = `P${at + 1}`
    const found: Step<LiveCut>[] = []
    const may = (label: string, next: LiveCut) => found.push({ label, state: next })
    if (run.published < publications) may(`${name} publishes ${run.published + 1}`, publish(state, at))
    if (run.toO.length > 0) may(`${name}'s ${run.toO[0]} reaches O`, arriveO(state, at))
    if (run.toN.length > 0) may(`${name}'s ${run.toN[0]} reaches N`, arriveN(state, at))
    if (state.phase !== 'before' && !run.knowsN)
      may(`${name} learns of N's interest`, change(state, at, { knowsN: true }))
    // The request takes the way of the interest, behind it.
    if (run.barrierN === 'asked' && run.knowsN)
      may(
        `${name} answers N's barrier`,
        change(state, at, { barrierN: 'answered', toN: [...run.toN, 'here'] }),
      )
    if (run.barrierO === 'asked')
      may(
        `${name} answers O's barrier`,
        change(state, at, { barrierO: 'answered', toO: [...run.toO, 'here'] }),
      )
    return found
  }
  const steps = (state: LiveCut): Step<LiveCut>[] => {
    const { runs, phase } = state
    const found = runs.flatMap((_, at) => ofRun(state, at))
    const may = (label: string, next: LiveCut) => found.push({ label, state: next })
    const joined =
      !holds('a barrier, not a flush, before the take') || runs.every((run) => run.barrierN === 'done')
    const synced =
      !holds("the owner's barrier before the cut") || runs.every((run) => run.barrierO === 'done')
    if (phase === 'before')
      may('N joins and asks for a barrier', {
        ...state,
        runs: every(state, { barrierN: 'asked' }),
        phase: 'joined',
      })
    if (phase === 'joined' && joined) may('N takes', { ...state, phase: 'asked' })
    if (phase === 'asked')
      may('O gets the take and asks for a barrier', {
        ...state,
        runs: every(state, { barrierO: 'asked' }),
        phase: 'cutting',
      })
    if (phase === 'cutting' && synced) may('O fences and cuts', cut(state))
    if (phase === 'bundled') may('N has the bundle', activate(state))
    return found
  }
  const missing = ({ runs, gap }: LiveCut): string | undefined => {
    const at = runs.findIndex(({ given, published }) => given.length < published)
    if (at < 0) return undefined
    return `15: P${at + 1} published ${runs[at]!.published}, the client got ${runs[at]!.given.join() || 'nothing'}, ${
      gap ? 'and a gap, though nothing broke' : 'silently'
    }`
  }
  return {
    initial: {
      runs: Array.from({ length: 2 }, () => ({
        published: 0,
        knowsN: false,
        toO: [],
        toN: [],
        barrierN: 'idle' as const,
        barrierO: 'idle' as const,
        buffer: [],
        given: [],
        last: 0,
      })),
      phase: 'before',
      gap: false,
    },
    steps,
    violation(state) {
      const doubled = state.runs.findIndex(({ given }) =>
        given.some((n, at) => at > 0 && n <= given[at - 1]!),
      )
      if (doubled >= 0) return `14: P${doubled + 1} is given as ${state.runs[doubled]!.given.join()}`
      return steps(state).length === 0 ? missing(state) : undefined
    },
  }
}
