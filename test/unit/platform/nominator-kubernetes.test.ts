import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OperatingError } from '../../../core/operating-error.ts';
import type { Nomination, Nominator } from '../../../platform/nominator.ts';
import { kubernetesNominator } from '../../../platform/nominator-kubernetes.ts';
import { type LeaseApi, startLeaseApi } from '../../support/lease-api.ts';

/** A call may take a fifth of it, on a busy machine too. */
const LEASE_MS = 2_000;
const LEASE = 'merit-engine';

let dir: string;
let api: LeaseApi;
const held: Nomination[] = [];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'merit-lease-'));
  api = await startLeaseApi();
});
afterEach(async () => {
  for (const nomination of held.splice(0)) await nomination.resign();
  await api.close();
  rmSync(dir, { recursive: true });
});

/** By a kubeconfig whose context names the namespace `ml`; JSON is YAML. */
async function nominatorAt(server = api.url, cluster: object = {}): Promise<Nominator> {
  const kubeconfig = join(dir, 'kubeconfig');
  const config = {
    clusters: [{ name: 'c', cluster: { server, 'insecure-skip-tls-verify': true, ...cluster } }],
    users: [{ name: 'u', user: { token: 'secret' } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'ml' } }],
    'current-context': 'x',
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  return kubernetesNominator({ kubeconfig }, { namespace: undefined, prefix: 'merit' }, LEASE_MS);
}

async function nominate(nominator: Nominator, holder = 'me'): Promise<Nomination | undefined> {
  const nomination = await nominator.nominate('engine', holder);
  if (nomination !== undefined) held.push(nomination);
  return nomination;
}

/** Tries until it is nominated, as who waits does. */
async function nominated(nominator: Nominator): Promise<Nomination> {
  for (;;) {
    const nomination = await nominate(nominator);
    if (nomination !== undefined) return nomination;
    await sleep(50);
  }
}

const until = async (is: () => boolean): Promise<void> => {
  while (!is()) await sleep(20);
};
const puts = () => api.seen.filter((method) => method === 'PUT').length;
const theirs = { holderIdentity: 'another', leaseDurationSeconds: 1, leaseTransitions: 4 };

describe('a lease', () => {
  test('says who holds it since when and for how long, and is renewed', async () => {
    await nominate(await nominatorAt());
    const first = api.get(LEASE)!.spec;
    expect(first).toMatchObject({ leaseDurationSeconds: 2, leaseTransitions: 0 });
    expect(first.holderIdentity).toMatch(/^me [0-9a-f-]{36}$/);
    expect(first.renewTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    await until(() => puts() === 2);
    const renewed = api.get(LEASE)!.spec;
    expect(renewed).toMatchObject({ ...first, renewTime: expect.any(String) });
    expect(Date.parse(renewed.renewTime!)).toBeGreaterThan(Date.parse(first.renewTime!));
  });

  test.each([
    ['long past', '2001-01-01T00:00:00.000000Z'],
    ['to come', '2101-01-01T00:00:00.000000Z'],
  ])(
    'of another is free once it did not change for its duration, though its times are %s',
    async (_name, renewTime) => {
      api.set(LEASE, { ...theirs, renewTime });
      const nominator = await nominatorAt();
      const startedAt = performance.now();
      expect(await nominate(nominator)).toBeUndefined();
      await nominated(nominator);
      expect(performance.now() - startedAt).toBeGreaterThan(1_000);
      expect(api.get(LEASE)!.spec).toMatchObject({ leaseTransitions: 5, leaseDurationSeconds: 2 });
    },
  );

  test('of another that changes is not free, whatever it says', async () => {
    const nominator = await nominatorAt();
    const ends = performance.now() + 2_000;
    for (let n = 0; performance.now() < ends; n++) {
      api.set(LEASE, { ...theirs, renewTime: `2001-01-01T00:00:00.${String(n).padStart(6, '0')}Z` });
      expect(await nominate(nominator)).toBeUndefined();
      await sleep(100);
    }
  });

  test('that was given back is free at once, and giving back says so', async () => {
    const first = (await nominate(await nominatorAt()))!;
    await first.resign();
    expect(first.lost.aborted).toBe(true);
    expect(api.get(LEASE)!.spec).toMatchObject({ holderIdentity: '', leaseDurationSeconds: 1, leaseTransitions: 0 });
    expect(await nominate(await nominatorAt(), 'next')).toBeDefined();
    expect(api.get(LEASE)!.spec).toMatchObject({ leaseTransitions: 1 });
  });

  test.each(['POST', 'PUT'])('is had by one of two who write at once (%s)', async (method) => {
    if (method === 'PUT') api.set(LEASE, { ...theirs, holderIdentity: '' });
    const nominator = await nominatorAt();
    api.beforeWrite(() => api.set(LEASE, theirs));
    expect(await nominate(nominator)).toBeUndefined();
    expect(api.get(LEASE)!.spec).toEqual(theirs);
  });

  test('whose taking was not answered is known again, without waiting for its end', async () => {
    const nominator = await nominatorAt();
    api.fail('POST', 'reply-lost');
    expect(await nominate(nominator)).toBeUndefined();
    const holder = api.get(LEASE)!.spec.holderIdentity;
    const startedAt = performance.now();
    await nominated(nominator);
    expect(performance.now() - startedAt).toBeLessThan(LEASE_MS);
    expect(api.get(LEASE)!.spec).toMatchObject({ holderIdentity: holder, leaseTransitions: 0 });
  });
});

describe('who holds a lease', () => {
  test('keeps it, and what others wrote beside the term, when somebody else wrote into it', async () => {
    const nomination = (await nominate(await nominatorAt()))!;
    const { spec } = api.get(LEASE)!;
    api.set(LEASE, spec, { team: 'ml' });
    await sleep(LEASE_MS);
    expect(nomination.lost.aborted).toBe(false);
    expect(api.get(LEASE)!.metadata.labels).toEqual({ team: 'ml' });
    expect(api.get(LEASE)!.spec.holderIdentity).toBe(spec.holderIdentity);
  });

  test('keeps it when a renewal was not answered', async () => {
    const nomination = (await nominate(await nominatorAt()))!;
    api.fail('PUT', 'reply-lost');
    await sleep(LEASE_MS);
    expect(nomination.lost.aborted).toBe(false);
  });

  test.each([
    ['is another’s', () => api.set(LEASE, theirs)],
    ['was deleted', () => api.delete(LEASE)],
  ])('is told at its next renewal that it %s, and takes nothing from the other', async (_name, change) => {
    const nomination = (await nominate(await nominatorAt()))!;
    change();
    const after = api.get(LEASE);
    const before = puts();
    await until(() => nomination.lost.aborted);
    expect(puts()).toBe(before + 1);
    await nomination.resign();
    expect(api.get(LEASE)).toEqual(after);
  });

  test.each(['silent', { status: 500 }, { status: 403 }] as const)(
    'stops before another may start where Kubernetes is %j',
    async (fault) => {
      const nomination = (await nominate(await nominatorAt()))!;
      const since = performance.now();
      api.fail('PUT', fault, 1_000);
      await until(() => nomination.lost.aborted);
      expect(performance.now() - since).toBeLessThan(LEASE_MS);
    },
  );

  test('renews nothing when it wakes up after a freeze', async () => {
    const nomination = (await nominate(await nominatorAt()))!;
    const before = puts();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LEASE_MS);
    await until(() => nomination.lost.aborted);
    await sleep(LEASE_MS / 5);
    expect(puts()).toBe(before);
  });
});

describe('who asks', () => {
  test.each([{ status: 429 }, { status: 503 }, 'silent'] as const)(
    'waits where Kubernetes answers %j',
    async (fault) => {
      const nominator = await nominatorAt();
      api.fail('GET', fault);
      expect(await nominate(nominator)).toBeUndefined();
      expect(nominator.away()).toMatch(/^Kubernetes does not answer: ./);
      await nominated(nominator);
      expect(nominator.away()).toBeUndefined();
    },
  );

  test('waits where nobody listens', async () => {
    const nominator = await nominatorAt();
    await api.close();
    expect(await nominate(nominator)).toBeUndefined();
    api = await startLeaseApi();
  });

  test('asks no more than five times a lease', async () => {
    api.set(LEASE, { ...theirs, leaseDurationSeconds: 60 });
    const nominator = await nominatorAt();
    const before = api.seen.length;
    for (let n = 0; n < 20; n++) await nominate(nominator);
    expect(api.seen.length - before).toBe(1);
    expect(nominator.away()).toBeUndefined();
  });

  test('is told at the start which right is missing, and how it is given', async () => {
    const message =
      'leases.coordination.k8s.io "merit-engine" is forbidden: User "system:serviceaccount:ml:merit" cannot get resource "leases"';
    api.fail('GET', { status: 403, message });
    const error = await nominatorAt().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(OperatingError);
    const { code, mend } = error as OperatingError;
    expect(code).toBe('auth');
    expect(mend).toContain('--verb=get,create,update --resource=leases.coordination.k8s.io');
    expect(mend).toContain('--serviceaccount=ml:merit');
  });

  test.each([
    ['a token that is not known', { status: 401 }, 'auth', 'renew the kubeconfig'],
    ['a right that is missing', { status: 403, message: 'User "jane" cannot create' }, 'auth', "--user='jane'"],
    ['a namespace that is not there', { status: 404 }, 'not-found', 'kubectl create namespace ml'],
    ['a request that is not understood', { status: 400 }, 'bad-reply', 'API server'],
  ] as const)('is told of %s', async (_name, fault, code, mend) => {
    const nominator = await nominatorAt();
    api.fail('POST', fault);
    await expect(nominate(nominator)).rejects.toMatchObject({ code, mend: expect.stringContaining(mend) });
  });

  test.each([
    ['would not be verified', 'https://kube.example:6443', {}],
    ['is in no file', 'https://kube.example:6443', undefined],
  ])('is refused a server that %s', async (_name, server, cluster) => {
    const asking =
      cluster === undefined
        ? kubernetesNominator({ kubeconfig: join(dir, 'none') }, { namespace: undefined, prefix: 'merit' })
        : nominatorAt(server, cluster);
    await expect(asking).rejects.toMatchObject({ code: 'auth', mend: expect.any(String) });
  });
});
