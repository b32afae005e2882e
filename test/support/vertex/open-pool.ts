import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../../platform/clock.ts';
import { loadProvider, openProvider, providerRefusals } from '../../../providers/registry.ts';

/**
 * What Merit does with a Vertex pool before a job is booked on it; with `MERIT_ASK`, a first call too, with a token, of an address where nobody listens.
 */
export default async function openPool(): Promise<void> {
  const definition = await loadProvider('vertex');
  const [config] = (definition.configSchema as { readonly examples: readonly object[] }).examples;
  await providerRefusals({ kind: 'vertex', config }, []);
  definition.checkOptions?.({ image: 'x:1' });
  const folder = await mkdtemp(join(tmpdir(), 'merit-open-vertex-'));
  const credentialsFile = join(folder, 'credentials.json');
  const elsewhere = { ...config, endpoint: 'http://127.0.0.1:1', credentialsFile };
  const provider = await openProvider(definition, elsewhere, { stateDir: folder, clock: systemClock });
  await provider.offers(AbortSignal.timeout(1_000));
  const tokens = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ access_token: 't', expires_in: 3600, token_type: 'Bearer' }));
  });
  if (process.env.MERIT_ASK !== undefined) {
    await new Promise<void>((resolve) => tokens.listen(0, '127.0.0.1', resolve));
    const { port } = tokens.address() as AddressInfo;
    await writeFile(join(folder, 'subject'), 'x');
    const identity = {
      type: 'external_account',
      audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/p',
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      token_url: `http://127.0.0.1:${port}/token`,
      credential_source: { file: join(folder, 'subject') },
    };
    await writeFile(credentialsFile, JSON.stringify(identity));
    await provider.list('x', AbortSignal.timeout(30_000)).catch(() => {});
    tokens.closeAllConnections();
    tokens.close();
  }
  await provider.close();
  await rm(folder, { recursive: true, force: true });
}
