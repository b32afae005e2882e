import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import kubernetes from '../../providers/kubernetes/adapter.ts';
import { CHECK_NAMES, runKit } from '../../providers/merit-provider/src/kit/index.ts';
import { type AnyDefinition, configRefusals } from '../../providers/registry.ts';
import { kubernetesKitBackend } from '../support/kubernetes/kit-backend.ts';
import { Kubelet } from '../support/kubernetes/kubelet.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { type KubeApiserverFacts, kubeApiserver } from './kube-apiserver.ts';
import { kubeControllerManager } from './kube-controller-manager.ts';
import { kubeScheduler } from './kube-scheduler.ts';

/**
 * What a cluster cannot be made to show here: it takes a job that it has no room for, and lets it wait; its answers are what it has stored; and to let a job wait for
 * the kit's minute takes that minute (both of the last are tried by kubernetes-life.test.ts).
 */
const NOT_HERE = ['capacity-denied', 'eventual-consistency', 'slow-start', 'release-queued', 'usage-told'];
const required = CHECK_NAMES.filter((name) => !NOT_HERE.includes(name));
const checkConfig = (config: unknown) =>
  configRefusals(kubernetes as unknown as AnyDefinition, config).map(({ field, problem }) => `${field} ${problem}`);

const missing = [kubeControllerManager, kubeScheduler].map(partMissing).find((reason) => reason !== undefined);

describe.skipIf(missing !== undefined)(
  `the kit on a real cluster${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    let facts: KubeApiserverFacts;
    let node: Kubelet;
    beforeAll(async () => {
      facts = await sharedPart(kubeApiserver);
      await sharedPart(kubeControllerManager);
      await sharedPart(kubeScheduler);
      node = await Kubelet.start(facts, { allocatable: { cpu: '16' } });
    }, 300_000);
    afterAll(() => node?.stop(), 120_000);

    test('finds nothing that the Kubernetes provider does not keep', async () => {
      const backend = kubernetesKitBackend(facts, node);
      const report = await runKit(kubernetes, { backend, only: required, checkConfig });
      const wrong = report.checks.filter(({ verdict }) => verdict !== 'passed');
      expect(wrong).toEqual([]);
      expect(report.passed).toBe(required.length);
    }, 900_000);
  },
);
