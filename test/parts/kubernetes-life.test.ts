import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { KubernetesLife } from '../support/kubernetes/life.ts';
import { MISSING_IMAGE } from '../support/kubernetes/pod-runner.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { type KubeApiserverFacts, kubeApiserver } from './kube-apiserver.ts';
import { kubeControllerManager } from './kube-controller-manager.ts';
import { kubeScheduler } from './kube-scheduler.ts';

const missing = [kubeControllerManager, kubeScheduler].map(partMissing).find((reason) => reason !== undefined);
const SLEEP = 'exec sleep 600';

describe.skipIf(missing !== undefined)(`Jobs of a real cluster${missing === undefined ? '' : ` (${missing})`}`, () => {
  let facts: KubeApiserverFacts;
  /** Beside each other, since most of it is waiting: each has a namespace and a node of its own, and leaves neither. */
  const lives = (rule: string, body: (life: KubernetesLife) => Promise<void>) =>
    test.concurrent(rule, async () => {
      const life = await KubernetesLife.start(facts, { allocatable: { 'nvidia.com/gpu': '4' } });
      try {
        await body(life);
      } finally {
        await life.end();
      }
    }, 600_000);
  beforeAll(async () => {
    facts = await sharedPart(kubeApiserver);
    await sharedPart(kubeControllerManager);
    await sharedPart(kubeScheduler);
  }, 300_000);
  lives(
    'a machine that is gone for good preempts its job, and the release is done once the cluster knows',
    async (life) => {
      const provider = await life.open();
      const lost = await life.addNode();
      const spec = life.spec(SLEEP, {
        options: { kubernetes: { nodeSelector: { 'kubernetes.io/hostname': lost.name } } },
      });
      await provider.submit(spec, life.signal);
      await life.until(provider, spec.key, 'running');
      await lost.vanish();
      await life.place.admin.call('DELETE', `/api/v1/nodes/${lost.name}`);
      const seen = await life.until(provider, spec.key, 'ended');
      expect(seen).toMatchObject({ outcome: 'preempted' });
      await provider.release(spec.key, life.signal);
      await life.eventually(
        async () => (await life.left()).length === 0,
        () => 'nothing is left',
      );
    },
  );

  lives(
    'a gang starts together, each node with its rank and all with one head; its log has all ranks, and its release leaves nothing',
    async (life) => {
      const provider = await life.open();
      const spec = life.spec('echo "rank $MERIT_NODE_RANK of $MERIT_NUM_NODES, head $MERIT_HEAD_IP"', { nodes: 3 });
      await provider.submit(spec, life.signal);
      const [service] = await life.place.items<{ spec: { clusterIP: string; selector: object } }>('services');
      expect(service?.spec).toMatchObject({ clusterIP: 'None', publishNotReadyAddresses: true });
      expect(await life.until(provider, spec.key, 'ended')).toMatchObject({ outcome: 'succeeded', exitCode: 0 });
      const text: string[] = [];
      for (let at = 0; ; ) {
        const more = await provider.logs(spec.key, at, 40, life.signal);
        if (more.length === 0) break;
        text.push(Buffer.from(more).toString('utf8'));
        at += more.length;
      }
      for (const rank of [0, 1, 2])
        expect(text.join('')).toContain(`rank ${rank} of 3, head ${spec.key}-0.${spec.key}\n`);
      await provider.release(spec.key, life.signal);
      await life.eventually(
        async () => (await life.left()).length === 0,
        () => 'nothing is left',
      );
    },
  );

  lives('a node that fails ends its gang, and is told with its rank', async (life) => {
    const provider = await life.open();
    const spec = life.spec('if [ "$MERIT_NODE_RANK" = 1 ]; then echo broken >&2; exit 9; fi; exec sleep 600', {
      nodes: 2,
    });
    await provider.submit(spec, life.signal);
    const seen = await life.until(provider, spec.key, 'ended');
    expect(seen).toMatchObject({ outcome: 'failed', exitCode: 9 });
    expect(seen.message).toContain('(rank 1)');
    expect(seen.message).toContain('broken');
    expect(life.node.live(spec.key)).toBe(0);
  });

  lives(
    'code that fills several Secrets arrives as it was; what a cluster should not keep is refused before anything is made',
    async (life) => {
      const provider = await life.open();
      const workdir = join(life.folder, 'code');
      await mkdir(workdir);
      // Nothing makes it smaller.
      await writeFile(join(workdir, 'data.bin'), randomBytes(2_500_000));
      const spec = life.spec('sha256sum data.bin; wc -c < data.bin', { workdir });
      await provider.submit(spec, life.signal);
      expect((await life.place.items('secrets')).length).toBe(4);
      await life.until(provider, spec.key, 'ended');
      expect(Buffer.from(await provider.logs(spec.key, 0, 1000, life.signal)).toString()).toContain('2500000');
      await provider.release(spec.key, life.signal);
      await writeFile(join(workdir, 'more.bin'), randomBytes(8_000_000));
      const large = life.spec('true', { workdir });
      const refused = await provider.submit(large, life.signal).catch((error: unknown) => error);
      expect(refused).toMatchObject({ code: 'invalid', effect: 'none' });
      expect(String(refused)).toContain('8000000 are taken');
      await life.eventually(
        async () => (await life.left()).length === 0,
        () => 'nothing is left',
      );
    },
  );

  lives(
    'neither the command nor a variable stands in the Job or its pod, only in a Secret that goes with them',
    async (life) => {
      const provider = await life.open();
      const spec = life.spec(`: hunter-command; ${SLEEP}`, { env: { TOKEN: 'hunter-variable' } });
      await provider.submit(spec, life.signal);
      await life.until(provider, spec.key, 'running');
      const shown = JSON.stringify([await life.place.items('jobs'), await life.place.items('pods')]);
      expect(shown).not.toContain('hunter');
      const [secret] = await life.place.items<{
        metadata: { ownerReferences: readonly { kind: string; name: string }[] };
      }>('secrets');
      expect(secret?.metadata.ownerReferences).toMatchObject([{ kind: 'Job', name: spec.key }]);
    },
  );

  lives(
    'a submit that broke off before its start is absent, is listed, and goes on with the next one',
    async (life) => {
      const provider = await life.open();
      const spec = life.spec(SLEEP);
      life.proxy.cutAfter = (method, path) => method === 'POST' && path.endsWith('/jobs');
      const broken = await provider.submit(spec, life.signal).catch((error: unknown) => error);
      expect(broken).toMatchObject({ code: 'transient', effect: 'none' });
      expect(await provider.observe(spec.key, life.signal)).toEqual({ state: 'absent' });
      expect(await provider.list(spec.tag, life.signal)).toMatchObject([{ key: spec.key, live: true }]);
      await provider.submit(spec, life.signal);
      await life.until(provider, spec.key, 'running');
      expect(life.node.live(spec.key)).toBe(1);
    },
  );

  lives(
    'a full namespace refuses as quota_exceeded, of Jobs and of what their pods ask for, and nothing is left of it',
    async (life) => {
      const provider = await life.open();
      await life.place.limit('cpus', { 'requests.cpu': '150m' });
      const first = life.spec(SLEEP);
      await provider.submit(first, life.signal);
      await life.until(provider, first.key, 'running');
      const second = life.spec(SLEEP);
      const refused = await provider.submit(second, life.signal).catch((error: unknown) => error);
      expect(refused).toMatchObject({ code: 'quota_exceeded', effect: 'none' });
      expect(String(refused)).toContain('raise the ResourceQuota cpus');
      expect(await provider.observe(second.key, life.signal)).toEqual({ state: 'absent' });
      expect((await life.left()).filter((name) => name.includes(second.key))).toEqual([]);
      const [capacity] = await (await life.open()).capacity(life.signal);
      expect(capacity).toMatchObject({
        totalCpuMilli: 150n,
        freeCpuMilli: 50n,
        totalGpuMilli: 4000n,
        freeGpuMilli: 4000n,
      });
    },
  );

  lives(
    'a Job in a queue starts when the queue lets it, and says in the controller’s words why it has no pod',
    async (life) => {
      const provider = await life.open({ queue: 'team' });
      const spec = life.spec(SLEEP, { nodes: 2 });
      await provider.submit(spec, life.signal);
      const waiting = await provider.observe(spec.key, life.signal);
      expect(waiting).toMatchObject({ state: 'pending' });
      await life.place.limit('late', { pods: '1' });
      const path = life.place.path('jobs', spec.key);
      const job = await life.place.admin.call<{ metadata: { labels: object } }>('GET', path);
      expect(job.metadata.labels).toMatchObject({ 'kueue.x-k8s.io/queue-name': 'team' });
      // What Kueue does.
      await life.place.admin.call('PATCH', path, { spec: { suspend: false } }, 'application/merge-patch+json');
      await life.eventually(
        async () => {
          const seen = await provider.observe(spec.key, life.signal);
          return (
            seen.state === 'pending' && seen.message.includes('exceeded quota: late') && life.node.live(spec.key) === 1
          );
        },
        () => 'a gang of which one node runs is told as pending, and why',
      );
      await provider.release(spec.key, life.signal);
    },
  );

  lives('a Job that its queue suspends after it ran is preempted, and is so when it is let go again', async (life) => {
    const provider = await life.open({ queue: 'team' });
    const spec = life.spec(`echo run; ${SLEEP}`);
    await provider.submit(spec, life.signal);
    // What Kueue does.
    const suspend = (is: boolean) =>
      life.place.admin.call(
        'PATCH',
        life.place.path('jobs', spec.key),
        { spec: { suspend: is } },
        'application/merge-patch+json',
      );
    await suspend(false);
    await life.until(provider, spec.key, 'running');
    await suspend(true);
    expect(await life.until(provider, spec.key, 'ended')).toMatchObject({ outcome: 'preempted', exitCode: undefined });
    await suspend(false);
    await life.eventually(
      async () => life.node.live(spec.key) === 1,
      () => 'the queue has let it go again',
    );
    expect(await provider.observe(spec.key, life.signal)).toMatchObject({ state: 'ended', outcome: 'preempted' });
    await provider.release(spec.key, life.signal);
    expect(life.node.live(spec.key)).toBe(0);
  });

  lives(
    'what is evicted, and what a pod of more priority takes the place of, is preempted and not failed',
    async (life) => {
      const provider = await life.open({ priorityClass: `low-${life.place.name}` });
      for (const [name, value] of [
        ['low', 10],
        ['high', 1000],
      ] as const)
        await life.place.admin.call('POST', '/apis/scheduling.k8s.io/v1/priorityclasses', {
          metadata: { name: `${name}-${life.place.name}` },
          value,
        });
      // It saves its work and ends well.
      const spec = life.spec('trap "exit 0" TERM; while :; do sleep 0.1; done', {
        resources: { gpuMilli: 4000n, cpuMilli: 100n, memoryBytes: 0n },
      });
      await provider.submit(spec, life.signal);
      await life.until(provider, spec.key, 'running');
      const urgent = await life.open({ priorityClasses: [`high-${life.place.name}`] });
      const other = life.spec(SLEEP, {
        resources: { gpuMilli: 1000n, cpuMilli: 100n, memoryBytes: 0n },
        options: { kubernetes: { priorityClass: `high-${life.place.name}` } },
      });
      await urgent.submit(other, life.signal);
      const seen = await life.until(provider, spec.key, 'ended');
      expect(seen).toMatchObject({ outcome: 'preempted', exitCode: undefined });
      expect(seen.message).toContain('DisruptionTarget');
      await life.until(urgent, other.key, 'running');
      life.node.end(other.key, {
        graceSeconds: 0,
        reason: 'Evicted',
        message: 'The node was low on resource: memory.',
        condition: 'TerminationByKubelet',
      });
      expect(await life.until(urgent, other.key, 'ended')).toMatchObject({ outcome: 'preempted' });
      for (const name of ['low', 'high'])
        await life.place.admin.call('DELETE', `/apis/scheduling.k8s.io/v1/priorityclasses/${name}-${life.place.name}`);
    },
  );

  lives(
    'a job that used more memory than it asked for failed, and an image that is not there fails at once',
    async (life) => {
      const provider = await life.open();
      const spec = life.spec(SLEEP);
      await provider.submit(spec, life.signal);
      await life.until(provider, spec.key, 'running');
      life.node.end(spec.key, { graceSeconds: 0, containerReason: 'OOMKilled' });
      const seen = await life.until(provider, spec.key, 'ended');
      expect(seen).toMatchObject({ outcome: 'failed', exitCode: expect.any(Number) });
      expect(seen.message).toContain('OOMKilled: it used more memory than it asked for');
      const other = life.spec('true', { options: { kubernetes: { image: `registry.example/${MISSING_IMAGE}:1` } } });
      await provider.submit(other, life.signal);
      const failed = await life.until(provider, other.key, 'ended');
      expect(failed).toMatchObject({ outcome: 'failed', exitCode: undefined });
      expect(failed.message).toContain('ErrImagePull');
      await provider.release(other.key, life.signal);
    },
  );

  lives('what finds no node waits with the scheduler’s words, and what is released then never runs', async (life) => {
    const provider = await life.open();
    const spec = life.spec(SLEEP, { resources: { gpuMilli: 8000n, cpuMilli: 100n, memoryBytes: 0n } });
    await provider.submit(spec, life.signal);
    await life.eventually(
      async () => {
        const seen = await provider.observe(spec.key, life.signal);
        return seen.state === 'pending' && seen.message.includes('Insufficient nvidia.com/gpu');
      },
      () => 'the scheduler says why',
    );
    await provider.release(spec.key, life.signal);
    expect(life.node.live(spec.key)).toBe(0);
    await life.eventually(
      async () => (await life.left()).length === 0,
      () => 'nothing is left',
    );
  });

  lives('a lease that Merit no longer ends is ended by the cluster, and may be made longer', async (life) => {
    const provider = await life.open();
    const spec = life.spec(SLEEP, { leaseMs: 60_000 });
    await provider.submit(spec, life.signal);
    await provider.extend?.(spec.key, 3_600_000, life.signal);
    type Told = { readonly spec: { readonly activeDeadlineSeconds: number } };
    const job = await life.place.admin.call<Told>('GET', life.place.path('jobs', spec.key));
    expect(job.spec.activeDeadlineSeconds).toBe(3_600 + 900);
    await life.until(provider, spec.key, 'running');
    await life.place.admin.call(
      'PATCH',
      life.place.path('jobs', spec.key),
      { spec: { activeDeadlineSeconds: 1 } },
      'application/merge-patch+json',
    );
    const seen = await life.until(provider, spec.key, 'ended');
    expect(seen).toMatchObject({ outcome: 'stopped' });
    await provider.extend?.('m-nobody-1', 1000, life.signal);
  });

  lives(
    'many looks are answered by a watch; cut, or refused as out of date, it begins anew, and asks the server meanwhile',
    async (life) => {
      const provider = await life.open({}, 0);
      const spec = life.spec('trap "exit 0" TERM; while :; do sleep 0.1; done');
      await provider.submit(spec, life.signal);
      await life.until(provider, spec.key, 'running');
      const quiet = async () => {
        const before = life.proxy.calls.length;
        for (let i = 0; i < 5; i++) await provider.observe(spec.key, life.signal);
        return life.proxy.calls.length === before;
      };
      await life.eventually(quiet, () => 'looks cost no call');
      const lists = () => life.proxy.calls.filter((call) => /(jobs|pods)\?.*limit=500/.test(call)).length;
      const before = lists();
      life.proxy.cut();
      expect(await provider.observe(spec.key, life.signal)).toMatchObject({ state: 'running' });
      await life.eventually(
        async () => lists() >= before + 2 && (await quiet()),
        () => 'a new list was read after the cut',
      );
      let refused: number | undefined;
      life.proxy.watchFault = (response) => {
        life.proxy.watchFault = undefined;
        refused = life.proxy.calls.length - 1;
        const gone = {
          kind: 'Status',
          status: 'Failure',
          code: 410,
          reason: 'Expired',
          message: 'too old resource version',
        };
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(`${JSON.stringify({ type: 'ERROR', object: gone })}\n`);
      };
      life.proxy.cut();
      const isListedAnew = () => {
        const [watch = '', ...later] = refused === undefined ? [] : life.proxy.calls.slice(refused);
        const list = `${watch.split('?')[0]}?`;
        return later.some((call) => call.startsWith(list) && call.includes('limit=500'));
      };
      await life.eventually(
        async () => isListedAnew() && (await quiet()),
        () => 'a new list was read after 410 Gone',
      );
      await provider.drain(spec.key, Date.now() + 60_000, life.signal);
      expect(await life.until(provider, spec.key, 'ended')).toMatchObject({ outcome: 'stopped', exitCode: 143 });
      await provider.release(spec.key, life.signal);
      expect(await provider.observe(spec.key, life.signal)).toEqual({ state: 'absent' });
    },
  );

  lives('pods whose Job somebody removed without them are listed and released', async (life) => {
    const provider = await life.open();
    const spec = life.spec(SLEEP);
    await provider.submit(spec, life.signal);
    await life.until(provider, spec.key, 'running');
    const orphan = { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: 'Orphan' };
    await life.place.admin.call('DELETE', life.place.path('jobs', spec.key), orphan);
    await life.eventually(
      async () => (await life.place.items('jobs')).length === 0,
      () => 'the Job is gone',
    );
    expect(await provider.list(spec.tag, life.signal)).toMatchObject([{ key: spec.key, live: true }]);
    await provider.release(spec.key, life.signal);
    expect(await provider.list(spec.tag, life.signal)).toEqual([]);
    expect(life.node.live(spec.key)).toBe(0);
  });
});
