import { describe, test } from 'vitest';
import { CHECK_NAMES, describeProvider } from '../../providers/merit-provider/src/kit/index.ts';
import { type AnyDefinition, configRefusals } from '../../providers/registry.ts';
import vertex from '../../providers/vertex/adapter.ts';
import { dueToday } from '../support/rotating.ts';
import { vertexKitBackend } from '../support/vertex/kit-backend.ts';

/** Vertex AI refuses no job for want of a machine, tells states by numbers (both are shown in test/unit/providers/vertex/life.test.ts), and nothing of what jobs use. */
const NOT_HERE = ['capacity-denied', 'unknown-status', 'usage-told'];
const required = CHECK_NAMES.filter((name) => !NOT_HERE.includes(name));
const checkConfig = (config: unknown) =>
  configRefusals(vertex as unknown as AnyDefinition, config).map(({ field, problem }) => `${field} ${problem}`);

const options = { backend: vertexKitBackend, only: dueToday(required), required, checkConfig };

describe('on a simulator, not on the service:', () => {
  describeProvider(vertex, options, { describe, test });
});
