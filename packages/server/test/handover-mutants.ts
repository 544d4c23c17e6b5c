import {
  content,
  liveCut,
  ownership,
  search,
  type Bounds,
  type ContentRule,
  type Finding,
  type LiveCutRule,
  type OwnershipRule,
} from './handover-model.js'

/** One rule of the protocol broken, and the invariant that does not survive it. */
export interface Mutant {
  name: string
  /** How the violation begins. */
  violates: string
  find(): Finding
}

interface Mistake {
  name: string
  violates: string
}

const threeNodes: Bounds = { nodes: 3, attaches: 2, takes: 3 }
const rolling: Bounds = { nodes: 2, attaches: 1, takes: 2, drains: 1, restarts: 1 }

// The types see to it that no rule is without a mutant.
const ownershipMistakes: Record<OwnershipRule, Mistake & { within: Bounds }> = {
  'an answer counts only while its request is pending': {
    name: 'answers are accepted without a pending request',
    violates: '7: A and B both own',
    within: threeNodes,
  },
  'giving up is final': { name: 'activates after giving up', violates: '11: B owns', within: threeNodes },
  'what was taken is never taken back': {
    name: 'the old owner takes back after a take',
    violates: '7: A and B both own',
    within: threeNodes,
  },
  'the kept bundle is for one node': {
    name: 'the kept bundle is repeated to another node',
    violates: '7: B and C both own',
    within: { nodes: 3, attaches: 0, takes: 2, drains: 1 },
  },
  'the kept bundle is for one attempt': {
    name: 'the kept bundle is repeated for another attempt',
    violates: '9: attempt 2 holds the link',
    within: { nodes: 2, attaches: 2, takes: 3, drains: 1, only: { attaches: 'BA', drains: 'A' } },
  },
  'tombstones outlive bundles': {
    name: 'tombstones are forgotten before bundles',
    violates: '7: B owns a session that was ended',
    within: { nodes: 2, attaches: 0, takes: 2, drains: 1, ends: 1 },
  },
  'a restart changes the id': {
    name: 'a node is known by its address',
    violates: '7: A and B both own',
    within: {
      nodes: 2,
      attaches: 3,
      takes: 3,
      crashes: 1,
      restarts: 1,
      only: { attaches: 'BAB', crashes: 'B' },
    },
  },
  'the client numbers its attaches': {
    name: 'the owner numbers attaches as they arrive',
    violates: '9: attempt 2 holds the link',
    within: threeNodes,
  },
  'one take at a time': {
    name: 'a newer attach takes beside the pending take',
    violates: '7: A and B both own',
    within: { nodes: 2, attaches: 2, takes: 3, only: { attaches: 'BA' } },
  },
  'a take that was refused is never granted': {
    name: 'a copy of a take that was told retry is granted',
    violates: '9: nobody has the session',
    within: { nodes: 3, attaches: 3, takes: 3, only: { attaches: 'BAC' } },
  },
  'a bundle is kept while its take is pending': {
    name: 'a bundle is forgotten while its take is repeated',
    violates: '9: nobody has the session',
    within: threeNodes,
  },
  'who says lost refuses that attempt for good': {
    name: 'a copy of an attach that was told lost is welcomed',
    violates: '11: B owns',
    within: threeNodes,
  },
  'the own tombstone comes before the hint': {
    name: 'the hint is followed before the own tombstone',
    violates: '9: an attach at B ends with lost, 1 nodes',
    within: threeNodes,
  },
  'what came from a node may be given back to it under the same number': {
    name: 'the own tombstone refuses what a draining node gives back',
    violates: '10: B drains, and no ready node takes',
    within: rolling,
  },
  'a draining node stays until all have its note': {
    name: 'notes are sent once and not confirmed',
    violates: '10: an attach at C ends with lost, 1 nodes',
    within: { nodes: 3, attaches: 0, takes: 1, drains: 1 },
  },
  'a node starts with the notes of the others': {
    name: 'a node that starts knows no notes',
    violates: "10: an attach at A' ends with lost, 1 nodes",
    within: rolling,
  },
}

const contentMistakes: Record<ContentRule, Mistake> = {
  'what is removed leaves a void': { name: 'removal without void', violates: '8: ' },
  'the old owner numbers nothing after the bundle': {
    name: 'a method that ends late is answered by the old owner',
    violates: '8: ',
  },
  'the old owner applies nothing after the bundle': {
    name: 'the old owner applies an uplink after the bundle',
    violates: '8: ',
  },
  'the bundle names the unanswered operations': {
    name: 'the bundle is silent about unanswered operations',
    violates: '11: request 1 got 0 answers',
  },
  'the new owner repeats no request': {
    name: 'the new owner runs unanswered requests again',
    violates: '11: a method ran twice',
  },
  'lost answers every operation': {
    name: 'lost leaves operations open',
    violates: '11: request 1 got 0 answers',
  },
}

const liveCutMistakes: Record<LiveCutRule, Mistake & { publications: number }> = {
  'the cut is a vector': {
    name: 'one number is the cut of a live channel',
    violates: '15: P2 published 2, the client got 1, silently',
    publications: 2,
  },
  'a barrier, not a flush, before the take': {
    name: 'flush instead of barrier',
    violates: '15: P1 published 1, the client got nothing, silently',
    publications: 1,
  },
  "the owner's barrier before the cut": {
    name: "the cut without the owner's barrier",
    violates: '15: P1 published 1, the client got nothing, silently',
    publications: 1,
  },
  'what comes late is held against the cut': {
    name: 'what comes after the bundle is not held against the cut',
    violates: '14: P1 is given as 1,1',
    publications: 1,
  },
}

const toMutants = <Rule extends string, Kind extends Mistake>(
  mistakes: Record<Rule, Kind>,
  find: (rule: Rule, mistake: Kind) => Finding,
): Mutant[] =>
  (Object.entries(mistakes) as [Rule, Kind][]).map(([rule, mistake]) => ({
    name: mistake.name,
    violates: mistake.violates,
    find: () => find(rule, mistake),
  }))

const invariantOf = ({ violates }: Mistake) => ({ invariant: violates.slice(0, violates.indexOf(':') + 1) })

export const mutants: Mutant[] = [
  ...toMutants(ownershipMistakes, (rule, mistake) =>
    search(ownership(mistake.within, rule), invariantOf(mistake)),
  ),
  ...toMutants(contentMistakes, (rule, mistake) => search(content(rule), invariantOf(mistake))),
  ...toMutants(liveCutMistakes, (rule, mistake) =>
    search(liveCut(mistake.publications, rule), invariantOf(mistake)),
  ),
]
