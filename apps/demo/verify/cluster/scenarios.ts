import type { Scenario } from '../support/play/scenario.js'
import { elsewhere } from './scenarios/elsewhere.js'
import { hops } from './scenarios/hops.js'
import { leaderKilled } from './scenarios/leader-killed.js'
import { natsStopped } from './scenarios/nats-stopped.js'
import { networkCutLong, networkCutShort } from './scenarios/network-cut.js'
import { nodeCut } from './scenarios/node-cut.js'
import { nodeKilled } from './scenarios/node-killed.js'
import { rollingRestart } from './scenarios/rolling-restart.js'
import { storm } from './scenarios/storm.js'
import { streamsDeleted } from './scenarios/streams-deleted.js'
import { twoLinks } from './scenarios/two-links.js'

/** In the order in which they are played. */
export const scenarios: readonly Scenario[] = [
  nodeKilled,
  rollingRestart,
  leaderKilled,
  natsStopped,
  nodeCut,
  networkCutShort,
  networkCutLong,
  streamsDeleted,
  elsewhere,
  twoLinks,
  hops,
  storm,
]
