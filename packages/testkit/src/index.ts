export { busSuite, type BusBackend, type BusSuiteOptions, type BusSuiteTest } from './bus-suite.js'
export { createFakeClock, type FakeClock } from './fake-clock.js'
export {
  createFaultProxy,
  type Fault,
  type FaultProxy,
  type FaultProxyOptions,
  type ProxiedConnection,
} from './fault-proxy.js'
export {
  createLedger,
  formatVerdict,
  isClean,
  type Ledger,
  type LedgerOptions,
  type Verdict,
} from './ledger.js'
export { createLinkPair, type Lane, type LinkEnd, type LinkPair, type LinkPairOptions } from './link-pair.js'
export {
  transportSuite,
  type SuiteBus,
  type SuiteChannel,
  type SuiteClient,
  type SuiteClientOptions,
  type SuiteIdentity,
  type SuiteServer,
  type SuiteServerOptions,
  type SuiteSession,
  type SuiteTest,
  type TransportSuiteOptions,
} from './transport-suite.js'
