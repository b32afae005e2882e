import { tmpdir } from 'node:os';
import { systemClock } from '../../../platform/clock.ts';
import { loadProvider, openProvider, providerRefusals } from '../../../providers/registry.ts';

/** What Merit does with a SageMaker pool before a job is booked on it; with `MERIT_ASK`, a first call too, of an address where nobody listens. */
export default async function openPool(): Promise<void> {
  const definition = await loadProvider('sagemaker');
  const [config] = (definition.configSchema as { readonly examples: readonly object[] }).examples;
  await providerRefusals({ kind: 'sagemaker', config }, []);
  definition.checkOptions?.({ image: 'x:1' });
  const elsewhere = { ...config, endpoint: 'http://127.0.0.1:1', logsEndpoint: 'http://127.0.0.1:1' };
  const provider = await openProvider(definition, elsewhere, { stateDir: tmpdir(), clock: systemClock });
  await provider.offers(AbortSignal.timeout(1_000));
  if (process.env.MERIT_ASK !== undefined) await provider.list('x', AbortSignal.timeout(5_000)).catch(() => {});
  await provider.close();
}
