// `npm run test:parts [-- vitest arguments]`: gets the real parts that have to be built, then runs the tests on them as `npm test` runs its own.
import { Interrupted } from '../../bin/child.mjs';
import { ensurePackages } from '../../bin/install-packages.mjs';
import { endAs, orExplain, ROOT, runNode } from '../../bin/launch.mjs';

await orExplain(async () => {
  try {
    await ensurePackages(ROOT, (line) => process.stderr.write(`${line}\n`));
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    process.exitCode = error.exitCode;
    return;
  }
  const had = await runNode([`${ROOT}/test/parts/have.ts`]);
  if (had !== 0) return endAs(had);
  process.argv.splice(2, 0, '--config=test/parts/vitest.config.ts');
  await import('../../bin/test.mjs');
});
