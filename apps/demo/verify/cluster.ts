/**
 * Three Everwire servers on three NATS servers, behind HAProxy that goes plainly round: killed, drained, cut off and
 * restarted while hundreds of real clients on all transports publish and read. A ledger judges, by what they saw.
 *
 *     npm run verify:cluster [-- --seed N] [-- --brief] [-- --only SCENARIO] [-- --trace]
 *                            [-- --sabotage drop|double|reorder|hide-gap|no-tail-check|late-answers|no-handover]
 *
 * The last line is the verdict; the exit code is 1 when anything is wrong. With a sabotage that must be so.
 */
import { scenarios } from './cluster/scenarios.js'
import { run } from './support/play/run.js'
import { sabotages } from './support/sabotage.js'

await run(scenarios, [...sabotages, 'no-tail-check', 'late-answers', 'no-handover'])
