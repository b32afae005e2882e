import { defineConfig } from 'vitest/config';
import base from '../../vitest.config.ts';

const { projects: _, ...shared } = base.test ?? {};
/** Those that start a Ray beside all the rest have the machine to themselves: `npm run test:mixed`. */
const ALONE = ['test/parts/kuberay-ray.test.ts', 'test/parts/mixed-run.test.ts'];

/** The tests on real parts: one Postgres and one harness of parts for all of them. */
export default defineConfig({
  ...base,
  test: {
    ...shared,
    include: process.env.MERIT_MIXED === '1' ? ALONE : ['test/parts/**/*.test.ts'],
    exclude: [...(shared.exclude ?? []), ...(process.env.MERIT_MIXED === '1' ? [] : ALONE)],
    globalSetup: ['test/support/global-setup.ts', 'test/parts/harness/global-setup.ts'],
  },
});
