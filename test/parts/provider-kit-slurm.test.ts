import { describe, test } from 'vitest';
import { CHECK_NAMES, describeProvider } from '../../providers/merit-provider/src/kit/index.ts';
import { type AnyDefinition, configRefusals } from '../../providers/registry.ts';
import slurmProvider from '../../providers/slurm/adapter.ts';
import { slurmKitBackend } from '../support/slurm/kit-backend.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { slurm } from './slurm.ts';

const missing = partMissing(slurm);

/**
 * Slurm refuses no job for want of a node, and has no pages and no hidden jobs; its clock is this machine's. What waits is held up for real in slurm.test.ts.
 */
const NOT_HERE = [
  'capacity-denied',
  'eventual-consistency',
  'slow-start',
  'release-queued',
  'clock-skew',
  'paging',
  'partial-list',
];
const required = CHECK_NAMES.filter((name) => !NOT_HERE.includes(name));
const checkConfig = (config: unknown) =>
  configRefusals(slurmProvider as unknown as AnyDefinition, config).map(({ field, problem }) => `${field} ${problem}`);

/** These take a node from all that run on it, or count what there is. */
const ALONE = ['preemption-notice', 'capacity-follows'];
const beside = required.filter((name) => !ALONE.includes(name));

describe.skipIf(missing !== undefined)(`on a real Slurm${missing === undefined ? '' : ` (${missing})`}:`, () => {
  const options = { backend: slurmKitBackend(() => sharedPart(slurm)), required, checkConfig };
  describeProvider(slurmProvider, { ...options, only: beside }, { describe, test: test.concurrent });
  describeProvider(slurmProvider, { ...options, only: ALONE }, { describe, test });
});
