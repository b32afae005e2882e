import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../../platform/clock.ts';
import { loadProvider, openProvider, providerRefusals } from '../../../providers/registry.ts';
import { proxyKubeconfig } from './proxy-kubeconfig.ts';

/** What Merit does with a Kubernetes pool before a job is booked on it; with `MERIT_ASK`, a first call too, of an address where nobody listens. */
export default async function openPool(): Promise<void> {
  const definition = await loadProvider('kubernetes');
  const [example] = (definition.configSchema as { readonly examples: readonly object[] }).examples;
  const kubeconfig = join(process.env.MERIT_TEST_FOLDER ?? tmpdir(), 'kubeconfig.json');
  const config = { ...example, kubeconfig };
  await providerRefusals({ kind: 'kubernetes', config }, []);
  definition.checkOptions?.({ image: 'x:1' });
  const provider = await openProvider(definition, config, { stateDir: tmpdir(), clock: systemClock });
  await provider.offers(AbortSignal.timeout(1_000));
  if (process.env.MERIT_ASK !== undefined) {
    writeFileSync(kubeconfig, proxyKubeconfig('http://127.0.0.1:1', 'default'));
    await provider.list('x', AbortSignal.timeout(30_000)).catch(() => {});
  }
  await provider.close();
}
