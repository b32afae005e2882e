export { describeProvider, type Runner } from './describe-provider.ts';
export { FaultProxy, proxiedBackend } from './fault-proxy.ts';
export { KIT_ENTRYPOINT, type SimulatedRun, type SimulatedState, simulateKitJob } from './jobs.ts';
export {
  type Asks,
  CHECK_NAMES,
  type CheckResult,
  type KitOptions,
  type KitReport,
  plainBackend,
  runKit,
  type Verdict,
} from './run.ts';
