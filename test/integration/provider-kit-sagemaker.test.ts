import { describe, test } from 'vitest';
import { CHECK_NAMES, describeProvider } from '../../providers/merit-provider/src/kit/index.ts';
import { type AnyDefinition, configRefusals } from '../../providers/registry.ts';
import sageMaker from '../../providers/sagemaker/adapter.ts';
import { dueToday } from '../support/rotating.ts';
import { sageMakerKitBackend } from '../support/sagemaker/kit-backend.ts';

/** SageMaker refuses no job for want of a machine: it takes it, and fails it later (test/unit/providers/sagemaker/life.test.ts). What jobs use it does not tell. */
const NOT_HERE = ['capacity-denied', 'usage-told'];
const required = CHECK_NAMES.filter((name) => !NOT_HERE.includes(name));
const checkConfig = (config: unknown) =>
  configRefusals(sageMaker as unknown as AnyDefinition, config).map(({ field, problem }) => `${field} ${problem}`);

const options = { backend: sageMakerKitBackend, only: dueToday(required), required, checkConfig };

describe('on a simulator, not on the service:', () => {
  describeProvider(sageMaker, options, { describe, test });
});
