import { defineConfig } from 'vitest/config';
import base from '../../vitest.config.ts';

const { projects: _, ...shared } = base.test ?? {};

/** The tests on real parts: one Postgres and one harness of parts for all of them. */
export default defineConfig({
  ...base,
  test: {
    ...shared,
    include: ['test/parts/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts', 'test/parts/harness/global-setup.ts'],
  },
});
