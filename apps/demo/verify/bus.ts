/**
 * Real servers on real NATS, killed, cut and rolled over while real clients on all transports publish and read. A ledger
 * judges, by what the clients saw.
 *
 *     npm run verify:bus [-- --seed N] [-- --brief] [-- --only SCENARIO] [-- --trace]
 *                        [-- --sabotage drop|double|reorder|hide-gap|no-tail-check]
 *
 * The last line is the verdict; the exit code is 1 when anything is wrong. With a sabotage that must be so.
 */
import { scenarios } from './bus/scenarios.js'
import { run } from './support/play/run.js'
import { sabotages } from './support/sabotage.js'

await run(scenarios, [...sabotages, 'no-tail-check'])
