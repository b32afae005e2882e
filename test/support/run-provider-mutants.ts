import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { refusalText } from '../../core/refusal.ts';
import { runKit } from '../../providers/merit-provider/src/kit/index.ts';
import { configRefusals, loadProvider } from '../../providers/registry.ts';
import { PROVIDER_MUTANTS } from './provider-mutants.ts';

/** `node run-provider-mutants.ts CHECK…`: the kit on the scaffold, whole for `none`, else with the fault that the check finds. One JSON line each. */

const SCAFFOLD = fileURLToPath(new URL('../../providers/scaffold', import.meta.url));

async function failures(check: string): Promise<readonly { check: string; problem: string | undefined }[]> {
  const folder = await mkdtemp(join(tmpdir(), 'merit-mutant-'));
  try {
    await cp(SCAFFOLD, folder, { recursive: true });
    const path = join(folder, 'src', 'provider.js');
    let source = await readFile(path, 'utf8');
    for (const [from, to] of PROVIDER_MUTANTS.find((one) => one.check === check)?.changes ?? []) {
      if (source.split(from).length !== 2) throw new Error(`${check}: the scaffold does not have once: ${from}`);
      source = source.replace(from, () => to);
    }
    await writeFile(path, source);
    const definition = await loadProvider(path, 'any');
    const checkConfig = (config: unknown) => configRefusals(definition, config).map(refusalText);
    const report = await runKit(definition as never, { checkConfig });
    return report.checks
      .filter((one) => one.verdict === 'failed' || (check === 'none' && one.verdict !== 'passed'))
      .map(({ check: name, problem }) => ({ check: name, problem }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

for (const check of process.argv.slice(2)) console.log(JSON.stringify({ check, failed: await failures(check) }));
// A mutant may have left a timer behind.
process.exit(0);
