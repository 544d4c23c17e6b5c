import type { Scenario } from '../support/play/scenario.js'
import { leaderKilled } from './scenarios/leader-killed.js'
import { natsKilled } from './scenarios/nats-killed.js'
import { nothingRepublished } from './scenarios/nothing-republished.js'
import { routesCut } from './scenarios/routes-cut.js'
import { serverKilled } from './scenarios/server-killed.js'
import { streamsDeleted } from './scenarios/streams-deleted.js'
import { subscribeRace } from './scenarios/subscribe-race.js'
import { twoNodes } from './scenarios/two-nodes.js'

/** In the order in which they are played. */
export const scenarios: readonly Scenario[] = [
  serverKilled,
  natsKilled,
  streamsDeleted,
  subscribeRace,
  twoNodes,
  routesCut,
  leaderKilled,
  nothingRepublished,
]
