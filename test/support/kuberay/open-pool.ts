import { tmpdir } from 'node:os';
import { systemClock } from '../../../platform/clock.ts';
import { loadProvider, openProvider, providerRefusals } from '../../../providers/registry.ts';

/** What Merit does with a pool on KubeRay before a job is booked on it; with `MERIT_ASK`, a first call too, by a kubeconfig that is not there. */
export default async function openPool(): Promise<void> {
  const definition = await loadProvider('kuberay');
  const [config] = (definition.configSchema as { readonly examples: readonly object[] }).examples;
  await providerRefusals({ kind: 'kuberay', config }, []);
  definition.checkOptions?.({ image: 'x:1' });
  const nowhere = { ...config, kubeconfig: '/nonexistent/kubeconfig' };
  const provider = await openProvider(definition, nowhere, { stateDir: tmpdir(), clock: systemClock });
  await provider.offers(AbortSignal.timeout(1_000));
  if (process.env.MERIT_ASK !== undefined) await provider.list('x', AbortSignal.timeout(10_000)).catch(() => {});
  await provider.close();
}
