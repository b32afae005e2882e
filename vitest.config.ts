import { configDefaults, defineConfig } from 'vitest/config';
import { longFilesNotDue } from './test/support/long-files.ts';

/**
 * Workspace packages run from their TypeScript source. Of vite's defaults, which a list given here replaces, `module` is left out: Node loads
 * what it names (the AWS SDK's bundler files) without being able to.
 */
const conditions = ['merit-source', 'node', 'development|production'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: 'forks',
    maxWorkers: 2,
    execArgv: ['--conditions=merit-source'],
    // Only for what hangs: crash tests start servers and consumers over and over, and the machine may be busy.
    testTimeout: 180_000,
    hookTimeout: 120_000,
    teardownTimeout: 60_000,
    expect: { poll: { timeout: 60_000 } },
    exclude: [...configDefaults.exclude, ...longFilesNotDue()],
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/unit/**/*.test.ts', 'test/tidy.test.ts'] } },
      {
        extends: true,
        test: {
          name: 'real',
          // What takes many minutes of the whole machine has a command of its own.
          include: [
            'test/{integration,conformance,sim,chaos}/**/*.test.ts',
            ...(process.env.MERIT_RAY === undefined ? [] : ['test/proofs/**/*.test.ts']),
          ],
          // One Postgres for all of them; not started where only unit tests run.
          globalSetup: ['test/support/global-setup.ts'],
        },
      },
    ],
  },
});
