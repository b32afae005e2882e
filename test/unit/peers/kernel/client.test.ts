import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { kernel } from '../../../../peers/kernel/client.ts';
import { type KernelSimulator, startKernelSimulator } from '../../../../peers/kernel/simulator.ts';
import { devSpiffeId, ensureDevCertificates } from '../../../../platform/dev-ca.ts';
import { openHttpClient } from '../../../../platform/http-client.ts';
import { clientTls, loadTls } from '../../../../platform/mtls.ts';

const ANN = 'oidc:ann';
const signal = () => AbortSignal.timeout(10_000);
const clientOf = (url: string, tls?: ConnectionOptions) =>
  kernel({ http: openHttpClient({ origin: url, ...(tls === undefined ? {} : { tls }) }).send, rolesTimeoutMs: 10_000 });

let simulator: KernelSimulator;
beforeEach(async () => {
  simulator = await startKernelSimulator();
  simulator.setRoles('acme', ANN, ['operator', 'viewer']);
});
afterEach(() => simulator.close());

describe('the roles of a person', () => {
  test('are those that Kernel has for that person in that tenant, and none of anybody else', async () => {
    const client = clientOf(simulator.url);
    expect(await client.rolesOf('acme', ANN, signal())).toEqual(['operator', 'viewer']);
    expect(await client.rolesOf('rival', ANN, signal())).toEqual([]);
    expect(await client.rolesOf('acme', 'oidc:ben', signal())).toEqual([]);
    simulator.setRoles('acme', ANN, []);
    expect(await client.rolesOf('acme', ANN, signal())).toEqual([]);
  });

  test('that Merit does not have grant nothing', async () => {
    simulator.setRoles('acme', ANN, ['superuser', 'viewer', 'constructor', 'tostring']);
    expect(await clientOf(simulator.url).rolesOf('acme', ANN, signal())).toEqual(['viewer']);
  });

  const good = { tenant: 'acme', person: ANN, roles: ['admin'] };
  test.each<[string, unknown]>([
    ['{}', {}],
    ['null', null],
    ['a list', ['admin']],
    ['a text', 'admin'],
    ['roles as a text', { ...good, roles: 'admin' }],
    ['roles as an object', { ...good, roles: { admin: true } }],
    ['a role that is no text', { ...good, roles: [true] }],
    ['a role in capitals', { ...good, roles: ['ADMIN'] }],
    ['a role that is empty', { ...good, roles: [''] }],
    ['a role with something hidden in it', { ...good, roles: ['admin\u200b'] }],
    ['more roles than anybody has', { ...good, roles: Array.from({ length: 65 }, () => 'admin') }],
    ['no roles', { tenant: 'acme', person: ANN }],
    ['nobody', { tenant: 'acme', roles: ['admin'] }],
    ['somebody else', { ...good, person: 'oidc:bob' }],
    ['another tenant', { ...good, tenant: 'rival' }],
    ['the person in capitals', { ...good, person: 'oidc:ANN' }],
  ])('are unknown where the answer is %s', async (_name, body) => {
    simulator.control.answerWith('roles', { body: JSON.stringify(body) });
    await expect(clientOf(simulator.url).rolesOf('acme', ANN, signal())).rejects.toMatchObject({
      name: 'OperatingError',
      code: 'bad-reply',
      message: expect.stringContaining('asking Kernel for a person’s roles'),
    });
  });

  test('are none only where Kernel says that it knows nobody of that name; any other 404 is somebody else’s', async () => {
    const problem = (status: number, code: string) => ({ status, body: JSON.stringify({ code, detail: 'no' }) });
    simulator.control.answerWith('roles', problem(404, 'unknown_person'));
    expect(await clientOf(simulator.url).rolesOf('acme', ANN, signal())).toEqual([]);
    for (const [status, code] of [
      [404, 'not_found'],
      [409, 'unknown_person'],
      [422, 'invalid'],
    ] as const) {
      simulator.control.answerWith('roles', problem(status, code));
      await expect(clientOf(simulator.url).rolesOf('acme', ANN, signal())).rejects.toMatchObject({ code: 'bad-reply' });
    }
  });
});

test('Kernel is known by its SPIFFE id and its authority, and lets in nobody but us', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'merit-kernel-'));
  try {
    const nowMs = Date.now();
    const files = await ensureDevCertificates({ dir, services: ['merit', 'kernel', 'stranger'], nowMs });
    const other = await ensureDevCertificates({ dir: join(dir, 'other'), services: ['kernel'], nowMs });
    const of = async (one: Parameters<typeof loadTls>[0]) => loadTls(one, nowMs);
    const [merit, own, stranger, forged] = await Promise.all(
      [files.merit, files.kernel, files.stranger, other.kernel].map(of),
    );
    const callers = [devSpiffeId('merit')];
    const real = await startKernelSimulator({ tls: { material: own!, callers } });
    const false_ = await startKernelSimulator({ tls: { material: { ...forged!, ca: merit!.ca }, callers } });
    try {
      for (const server of [real, false_]) server.setRoles('acme', ANN, ['viewer']);
      const ask = (server: KernelSimulator, as: typeof merit, expected = 'kernel') =>
        clientOf(server.url, clientTls(as!, [devSpiffeId(expected)])).rolesOf('acme', ANN, signal());
      expect(await ask(real, merit)).toEqual(['viewer']);
      await expect(ask(real, stranger)).rejects.toMatchObject({ code: 'auth', retry: 'never' });
      await expect(ask(real, merit, 'finance')).rejects.toMatchObject({ name: 'OperatingError' });
      await expect(ask(false_, merit)).rejects.toMatchObject({ name: 'OperatingError' });
      expect(false_.control.calls).toEqual([]);
    } finally {
      await Promise.all([real.close(), false_.close()]);
    }
  } finally {
    await rm(dir, { recursive: true });
  }
});
