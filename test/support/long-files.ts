import { dueToday } from './rotating.ts';

/**
 * Test files that take more than about 8 s each, most of it waiting for real parts. `npm test` runs a fifth of them, another fifth each day, so that it ends
 * within ten minutes on two cores; MERIT_PROOFS=whole, as CI does, runs all, and files that are asked for by name always run.
 */
const LONG_FILES: readonly string[] = [
  'integration/scoring-online-ingest',
  'integration/engine-decisions',
  'integration/ray-provider',
  'integration/postgres-embedded',
  'integration/http-wire',
  'integration/start-without-python',
  'integration/ledger-quota',
  'integration/cli-commands',
  'integration/scoring-online-decisions',
  'integration/leader',
  'integration/ray-client',
  'unit/platform/nominator-kubernetes',
  'integration/scoring-batch',
  'integration/scoring-online-time',
  'integration/lease-extension',
  'sim/desk-conformance',
  'integration/digits-train-py',
  'integration/server-roles',
  'integration/scoring-online-shadow',
  'integration/score-numpy',
  'integration/backtest-online',
  'integration/logs-command',
  'integration/peers-simulators',
  'integration/scores-http',
  'integration/log-keeper',
  'integration/ledger-receipt',
  'integration/scoring-online-canary',
  'integration/claim-server',
  'integration/bad-reports',
  'integration/migrate',
  'integration/scoring-realtime',
  'integration/machine-states',
  'integration/rollout-doors',
  'integration/terraform',
  'integration/provider-runner',
  'integration/canaries',
  'integration/database-login',
  'unit/api/http/access-matrix',
  'integration/sagas',
].map((name) => `test/${name}.test.ts`);

/** Those that a run of everything leaves out today; a run of named files asks for none of them. */
export function longFilesNotDue(): readonly string[] {
  if (process.env.MERIT_ROTATE_FILES !== '1') return [];
  const due = new Set(dueToday(LONG_FILES));
  return LONG_FILES.filter((file) => !due.has(file));
}
