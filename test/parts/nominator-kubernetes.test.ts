import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CoordinationV1Api, CoreV1Api, KubeConfig, RbacAuthorizationV1Api } from '@kubernetes/client-node';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { OperatingError } from '../../core/operating-error.ts';
import type { Nomination, Nominator } from '../../platform/nominator.ts';
import { kubernetesNominator } from '../../platform/nominator-kubernetes.ts';
import { leadershipRules } from '../support/leadership-rules.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { type KubeApiserverFacts, kubeApiserver, kubeconfig } from './kube-apiserver.ts';

const LEASE_MS = 3_000;
const missing = partMissing(kubeApiserver);

leadershipRules('kubernetes', {
  leaseMs: LEASE_MS,
  missing,
  start: async () => ({ at: (await sharedPart(kubeApiserver)).kubeconfig, stop: async () => {} }),
});

describe.skipIf(missing !== undefined)(
  `a lease of a real Kubernetes${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    let facts: KubeApiserverFacts;
    let admin: KubeConfig;
    let dir: string;
    const held: Nomination[] = [];

    beforeAll(async () => {
      facts = await sharedPart(kubeApiserver);
      admin = new KubeConfig();
      admin.loadFromFile(facts.kubeconfig);
      dir = mkdtempSync(join(tmpdir(), 'merit-kubernetes-'));
    });
    afterEach(async () => {
      for (const nomination of held.splice(0)) await nomination.resign();
    });
    afterAll(() => {
      if (dir !== undefined) rmSync(dir, { recursive: true });
    });

    const file = (name: string, content: string): string => {
      const path = join(dir, name);
      writeFileSync(path, content);
      return path;
    };
    const open = (path: string, prefix: string, namespace?: string): Promise<Nominator> =>
      kubernetesNominator({ kubeconfig: path }, { namespace, prefix }, LEASE_MS);
    const nominate = async (nominator: Nominator): Promise<Nomination | undefined> => {
      const nomination = await nominator.nominate('engine', 'me');
      if (nomination !== undefined) held.push(nomination);
      return nomination;
    };
    const faultOf = async (asking: Promise<unknown>): Promise<OperatingError> => {
      const error = await asking.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(OperatingError);
      return error as OperatingError;
    };

    test('is had by one of eight that ask at once', async () => {
      const nominators = await Promise.all(Array.from({ length: 8 }, () => open(facts.kubeconfig, 'contended')));
      const nominations = await Promise.all(nominators.map(nominate));
      expect(nominations.filter((nomination) => nomination !== undefined)).toHaveLength(1);
    });

    test('says who holds it, and that it was given back', async () => {
      const leases = admin.makeApiClient(CoordinationV1Api);
      const read = async () => (await leases.readNamespacedLease({ name: 'told-engine', namespace: 'default' })).spec;
      const nomination = (await nominate(await open(facts.kubeconfig, 'told')))!;
      expect(await read()).toMatchObject({ leaseDurationSeconds: 3, leaseTransitions: 0 });
      expect((await read())?.holderIdentity).toMatch(/^me /);
      await nomination.resign();
      expect(await read()).toMatchObject({ holderIdentity: '', leaseDurationSeconds: 1, leaseTransitions: 0 });
      expect(await nominate(await open(facts.kubeconfig, 'told'))).toBeDefined();
      expect(await read()).toMatchObject({ leaseTransitions: 1 });
    });

    test('is held by the account of a pod once it has the role that it is told of', async () => {
      const namespace = 'team-ml';
      const core = admin.makeApiClient(CoreV1Api);
      await core.createNamespace({ body: { metadata: { name: namespace } } });
      await core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'merit' } } });
      const { status } = await core.createNamespacedServiceAccountToken({
        name: 'merit',
        namespace,
        body: { spec: { audiences: [], expirationSeconds: 3600 } },
      });
      const account = join(dir, 'var/run/secrets/kubernetes.io/serviceaccount');
      mkdirSync(account, { recursive: true });
      file('var/run/secrets/kubernetes.io/serviceaccount/token', status?.token ?? '');
      file('var/run/secrets/kubernetes.io/serviceaccount/namespace', namespace);
      const config = JSON.parse(kubeconfig(facts.url, facts.caFile, '')) as {
        clusters: [{ cluster: { 'certificate-authority-data': string } }];
      };
      const ca = Buffer.from(config.clusters[0].cluster['certificate-authority-data'], 'base64').toString();
      file('var/run/secrets/kubernetes.io/serviceaccount/ca.crt', ca);
      process.env.KUBERNETES_SERVICE_HOST = '127.0.0.1';
      process.env.KUBERNETES_SERVICE_PORT = new URL(facts.url).port;
      const inPod = () =>
        kubernetesNominator(
          { kubeconfig: undefined, podRoot: dir },
          { namespace: undefined, prefix: 'merit' },
          LEASE_MS,
        );

      const { code, mend = '' } = await faultOf(inPod());
      expect(code).toBe('auth');
      const [, name = '', verbs = ''] =
        /create role (\S+) --verb=(\S+) --resource=leases\.coordination\.k8s\.io/.exec(mend) ?? [];
      expect(mend).toContain(`kubectl -n ${namespace} create rolebinding`);
      expect(mend).toContain(`--serviceaccount=${namespace}:merit`);
      const rbac = admin.makeApiClient(RbacAuthorizationV1Api);
      await rbac.createNamespacedRole({
        namespace,
        body: {
          metadata: { name },
          rules: [{ apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: verbs.split(',') }],
        },
      });
      await rbac.createNamespacedRoleBinding({
        namespace,
        body: {
          metadata: { name },
          roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
          subjects: [{ kind: 'ServiceAccount', name: 'merit', namespace }],
        },
      });
      // Rights come into force a little later.
      let nominator: Nominator | undefined;
      while (nominator === undefined) nominator = await inPod().catch(() => sleep(50, undefined));
      const nomination = (await nominate(nominator))!;
      await sleep(LEASE_MS);
      expect(nomination.lost.aborted).toBe(false);
      const lease = await admin
        .makeApiClient(CoordinationV1Api)
        .readNamespacedLease({ name: 'merit-engine', namespace });
      expect(lease.spec?.holderIdentity).toMatch(/^me /);
    });

    test('is refused, with the mend, to a token that Kubernetes does not know', async () => {
      const path = file('stranger.yaml', kubeconfig(facts.url, facts.caFile, 'not-a-token'));
      const { code, mend } = await faultOf(open(path, 'merit'));
      expect([code, mend]).toEqual(['auth', expect.stringContaining('does not know this token')]);
    });

    test('is not asked of a server whose certificate is not known', async () => {
      const config = JSON.parse(kubeconfig(facts.url, facts.caFile, facts.adminToken)) as {
        clusters: [{ cluster: Record<string, unknown> }];
      };
      delete config.clusters[0].cluster['certificate-authority-data'];
      const { code, mend } = await faultOf(open(file('no-ca.yaml', JSON.stringify(config)), 'merit'));
      expect([code, mend]).toEqual(['auth', expect.stringContaining('certificate authority')]);
    });

    test('is refused, with the mend, in a namespace that is not there', async () => {
      const { code, mend } = await faultOf(nominate(await open(facts.kubeconfig, 'merit', 'nowhere')));
      expect([code, mend]).toEqual(['not-found', expect.stringContaining('kubectl create namespace nowhere')]);
    });

    test('is lost before another may have it where the way to Kubernetes is cut, and is had again once it is mended', async () => {
      const way = await wayTo(facts.url);
      const nominator = await open(file('way.yaml', kubeconfig(way.url, facts.caFile, facts.adminToken)), 'cut');
      const nomination = (await nominate(nominator))!;
      await sleep(LEASE_MS / 2);
      // Renewals go over the connections of the first requests.
      const connections = way.connections();
      await sleep(LEASE_MS);
      expect(way.connections()).toBe(connections);
      const uncut = await open(facts.kubeconfig, 'cut');
      way.cut();
      let other: Nomination | undefined;
      while (other === undefined) {
        await sleep(20);
        other = await nominate(uncut);
      }
      expect(nomination.lost.aborted).toBe(true);
      expect(await nominate(nominator)).toBeUndefined();
      await other.resign();
      way.mend();
      while ((await nominate(nominator)) === undefined) await sleep(100);
      await way.close();
    });
  },
);

/** A way to a server that can be cut: what is sent on it stays without an answer, as where a network drops packets. */
async function wayTo(target: string) {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let count = 0;
  let isCut = false;
  const server = createServer((near) => {
    count++;
    const far = connect(Number(port), hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        near.destroy();
        far.destroy();
      });
    }
    near.on('data', (data) => isCut || far.write(data));
    far.on('data', (data) => isCut || near.write(data));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `https://127.0.0.1:${(server.address() as { port: number }).port}`,
    connections: () => count,
    cut: () => {
      isCut = true;
    },
    mend: () => {
      isCut = false;
      for (const socket of sockets) socket.destroy();
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
