import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openAccess } from '../../../../api/roles/access.ts';
import { functionsOf } from '../../../../core/access.ts';
import { startKernelSimulator } from '../../../../peers/kernel/simulator.ts';
import { systemClock } from '../../../../platform/clock.ts';
import { devSpiffeId, ensureDevCertificates } from '../../../../platform/dev-ca.ts';
import { openHttpClient } from '../../../../platform/http-client.ts';
import { createMetrics } from '../../../../platform/metrics.ts';
import { loadTls } from '../../../../platform/mtls.ts';
import type { Database } from '../../../../platform/postgres.ts';
import { openRotatingTls } from '../../../../platform/tls-rotation.ts';
import { AUDIENCE, startTestIssuer, tokenOf } from '../../../support/test-issuer.ts';

/** As the server wires it: a real token, Kernel over mTLS, and what is counted and told of it. */
test('a person with a good token may do what their groups and Kernel grant, over mTLS; a Kernel that goes away keeps them out, is counted and told once', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'merit-kernel-access-'));
  const issuer = await startTestIssuer();
  const nowMs = Date.now();
  const files = await ensureDevCertificates({ dir, services: ['merit', 'kernel'], nowMs });
  const material = await loadTls(files.kernel, nowMs);
  const governor = await startKernelSimulator({ tls: { material, callers: [devSpiffeId('merit')] } });
  const tls = await openRotatingTls(files.merit, systemClock);
  const client = openHttpClient({ origin: governor.url, tls: tls.client([devSpiffeId('kernel')]) });
  try {
    const key = await issuer.newKey('k');
    const metrics = createMetrics({ processMetrics: false });
    const warned: string[] = [];
    const log = { info: () => {}, warn: (_: object, text: string) => void warned.push(text), error: () => {} };
    const oidc = {
      issuer: issuer.url,
      audience: AUDIENCE,
      caFile: undefined,
      algorithms: ['ES256'],
      clockToleranceMs: 1_000,
      personClaim: 'sub',
      groupsClaim: 'groups',
      roles: { platform: ['operator'] },
      tenant: { literal: 'acme' },
    } as const;
    const access = await openAccess({
      config: { tenant: 'acme', oidc, services: undefined },
      token: 'a-token-of-the-tests-0123456789',
      tls,
      kernel: client.send,
      db: {} as Database,
      clock: systemClock,
      metrics,
      log,
    });
    const ask = async (sub: string) => {
      const token = await tokenOf(issuer, key, { claims: { sub, groups: ['platform'] } });
      return access.identify({ authorization: `Bearer ${token}`, tls: undefined });
    };
    governor.setRoles('acme', 'oidc:ann', ['viewer', 'admin']);
    governor.setRoles('acme', 'oidc:ben', ['viewer']);
    expect(await ask('ann')).toMatchObject({ principal: 'oidc:ann', functions: functionsOf(['operator']) });
    expect(await ask('ben')).toMatchObject({ principal: 'oidc:ben', functions: functionsOf(['viewer']) });
    expect(await ask('cid')).toMatchObject({ refused: 'stranger', principal: 'oidc:cid' });
    await governor.close();
    expect(await ask('ann')).toMatchObject({ principal: 'oidc:ann' });
    for (const name of ['dan', 'eve']) expect(await ask(name)).toMatchObject({ refused: 'away' });
    const { body } = await metrics.expose();
    expect(body.match(/^merit_kernel_role_answers_total.*$/gm)).toEqual([
      'merit_kernel_role_answers_total{outcome="roles"} 2',
      'merit_kernel_role_answers_total{outcome="none"} 1',
      'merit_kernel_role_answers_total{outcome="lost"} 2',
    ]);
    expect(warned.filter((text) => text.startsWith('Kernel'))).toHaveLength(1);
    expect(access.roles?.state()).toContain('does not answer');
  } finally {
    await client.close();
    await Promise.all([governor.close().catch(() => {}), issuer.close()]);
    await rm(dir, { recursive: true });
  }
});
