import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isEnded, type StateName } from '../../core/booking.ts';
import { systemClock } from '../../platform/clock.ts';
import { applyPool } from '../../pools/apply-pool.ts';
import { parsePool } from '../../pools/pool-file.ts';
import { KIT_ENTRYPOINT, proxiedBackend } from '../../providers/merit-provider/src/kit/index.ts';
import type { Provider, TestBackend, TestBackendDefinition } from '../../providers/provider.ts';
import { loadProvider, openProvider } from '../../providers/registry.ts';
import { Allocator } from '../../scheduler/apply/engine.ts';
import { runReconciler } from '../../scheduler/reconcile/sweep.ts';
import { healthy } from '../support/healthy.ts';
import { kubernetesKitBackend } from '../support/kubernetes/kit-backend.ts';
import { Kubelet } from '../support/kubernetes/kubelet.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { rayForTests, rayMissing } from '../support/ray.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';
import { sageMakerKitBackend } from '../support/sagemaker/kit-backend.ts';
import { slurmKitBackend } from '../support/slurm/kit-backend.ts';
import { vertexKitBackend } from '../support/vertex/kit-backend.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { kubeApiserver } from './kube-apiserver.ts';
import { kubeControllerManager } from './kube-controller-manager.ts';
import { kubeScheduler } from './kube-scheduler.ts';
import { slurm } from './slurm.ts';

/** One ledger over all: a real Ray, a real Slurm, Kubernetes' own control plane, and simulators of SageMaker and Vertex AI behind their real SDKs. */

const JOBS = 100;
/** Of each pool: what a Ray for tests has. */
const CPUS = 4;
/** Every tenth submit loses its reply, in one way after the other, and every tenth machine of a simulator is taken back. */
const TENTH = 10;
/** What takes a machine of the real ones keeps it. */
const SIMULATED = new Set(['sagemaker', 'vertex']);
const FAULTS = ['loseReply', 'tearReply', 'stallReply'] as const;
/** Only for what hangs. */
const LIMIT_MS = 1_200_000;
const signal = new AbortController().signal;

const missing = [rayMissing(), ...[slurm, kubeControllerManager, kubeScheduler].map(partMissing)].find(
  (why) => why !== undefined,
);

interface Pool {
  readonly kind: string;
  readonly backend: TestBackend;
  readonly provider: Provider;
  submits: number;
  faults: number;
  preempted: number;
}

describe.skipIf(missing !== undefined)(`a mixed run${missing === undefined ? '' : ` (${missing})`}`, () => {
  const closers: (() => Promise<unknown>)[] = [];
  const pools: Pool[] = [];
  let world: SagaWorld;

  beforeAll(async () => {
    world = await sagaWorld();
    closers.push(() => world.close());
    const ray = await rayForTests();
    closers.push(() => ray.stop());
    const api = await sharedPart(kubeApiserver);
    await sharedPart(kubeControllerManager);
    await sharedPart(kubeScheduler);
    const node = await Kubelet.start(api, { allocatable: { cpu: '16' } });
    closers.push(() => node.stop());
    const { address, tokenFile } = ray;
    const rayConfig = { address, tokenFile, stopGraceSeconds: 2, timeoutMs: 10_000, flavours: [{ name: 'cpu' }] };
    const backends: Readonly<Record<string, TestBackendDefinition>> = {
      ray: proxiedBackend(rayConfig, 'address'),
      slurm: slurmKitBackend(() => sharedPart(slurm)),
      kubernetes: kubernetesKitBackend(api, node),
      sagemaker: sageMakerKitBackend,
      vertex: vertexKitBackend,
    };
    for (const [kind, backend] of Object.entries(backends)) pools.push(await open(kind, backend));
  }, LIMIT_MS);

  afterAll(async () => {
    // Whatever one of them throws, a Ray and a Slurm job of ours are to be ended.
    const faults: unknown[] = [];
    for (const close of closers.toReversed()) await close().catch((fault: unknown) => faults.push(fault));
    expect(faults).toEqual([]);
  }, LIMIT_MS);

  /** A pool of its own in the tenant's ledger, whose jobs have one CPU each. */
  async function open(kind: string, definition: TestBackendDefinition): Promise<Pool> {
    const stateDir = await mkdtemp(join(tmpdir(), `merit-mixed-${kind}-`));
    closers.push(() => rm(stateDir, { recursive: true, force: true }));
    const backend = await definition.start({ clock: systemClock, stateDir });
    closers.push(() => backend.close());
    const { flavours, ...rest } = backend.config as { readonly flavours: readonly object[] };
    const config = {
      ...rest,
      flavours: flavours.map((one) => ({ ...one, name: 'cpu', ...('cpus' in one ? { cpus: 1 } : {}) })),
    };
    const flavour = { flavour: 'cpu', resource: 'cpu', spot: false, currency: 'USD', centsPerUnitHour: 100n } as const;
    const provider = await openProvider(await loadProvider(kind), config, {
      stateDir,
      clock: systemClock,
      flavours: [flavour],
    });
    closers.push(() => provider.close());
    const file = parsePool({
      apiVersion: 'merit/v1',
      kind: 'Pool',
      name: kind,
      provider: { kind: 'memory' },
      flavours: [{ name: 'cpu', resource: 'cpu', capacity: CPUS, price: { currency: 'USD', perUnitHour: '1.00' } }],
      quotas: { vision: { cpu: CPUS } },
    });
    const by = { tenant: TENANT, actor: 'test', traceId: '0af7651916cd43dd8448eb211c80319c', nowMs: Date.now() };
    await world.database.db.asTenant(TENANT, (tx) => applyPool(tx, by, file));
    return { kind, backend, provider, submits: 0, faults: 0, preempted: 0 };
  }

  /** The pool's provider, of whose replies a tenth is lost. */
  function faulty(pool: Pool): Provider {
    const { backend, provider } = pool;
    const submit: Provider['submit'] = async (spec, ...rest) => {
      if (pool.submits++ % TENTH === 4) backend[FAULTS[pool.faults++ % FAULTS.length]!]?.();
      // What a simulator's job does stands in its environment, under names that are Merit's own.
      const { STEPS: MERIT_KIT_STEPS = '0', ...env } = spec.env;
      return provider.submit(
        { ...spec, env: { ...env, MERIT_KIT_STEPS, MERIT_KIT_TEXT: 'done\n', MERIT_KIT_EXIT: '0' } },
        ...rest,
      );
    };
    return new Proxy(provider, { get: (of, name) => (name === 'submit' ? submit : bound(of, name)) });
  }

  test(
    `of ${JOBS} jobs over Ray, Slurm, Kubernetes and simulators of SageMaker and Vertex AI has every outcome known, no quota passed, no orphan, and the ledger’s money is Finance’s`,
    async () => {
      const faultyOnes = new Map(pools.map((pool) => [pool.kind, faulty(pool)]));
      const stop = new AbortController();
      const context = {
        ...world.context,
        sweepEveryMs: 3_000,
        providers: {
          of: async (_: string, pool: string) => faultyOnes.get(pool) ?? world.provider,
          health: () => healthy(),
        },
      };
      const engine = new Allocator(context);
      const loops = [engine.run(stop.signal), runReconciler(context, stop.signal)];
      closers.push(async () => {
        stop.abort();
        await Promise.all(loops);
      });
      const ids: string[] = [];
      for (let i = 0; i < JOBS; i++) {
        // Each is offered on three of them, and begins with another one.
        const offered = [0, 1, 2].map((n) => pools[(i + n) % pools.length]!.kind);
        const envs = { STEPS: String(2 + (i % 7)) };
        ids.push(await world.book({ run: KIT_ENTRYPOINT, envs, pools: offered, resources: { cpus: 1 }, lease: '30m' }));
      }
      engine.wake();
      const taken = new Set<string>();
      for (;;) {
        const states = await statesOf(ids);
        await takeBack(taken);
        if (states.every(isEnded)) break;
        await systemClock.sleep(200);
      }

      expect(new Set(await statesOf(ids))).toEqual(new Set<StateName>(['released']));
      const attempts = await attemptsOf();
      console.info(
        JSON.stringify({
          jobs: JOBS,
          attempts: attempts.length,
          pools: pools.map(({ kind, submits, faults, preempted }) => ({
            kind,
            submits,
            faults,
            preempted,
            attempts: attempts.filter((one) => one.pool === kind).length,
          })),
        }),
      );
      // It was tried: all of them ran some, replies were lost and machines taken, and what lost one went on.
      for (const { kind, faults } of pools) {
        expect(attempts.filter((one) => one.pool === kind).length, kind).toBeGreaterThan(0);
        expect(faults, kind).toBeGreaterThan(0);
      }
      expect(attempts.length).toBeGreaterThan(JOBS);
      // No orphan, anywhere.
      for (const { kind, backend, provider } of pools) {
        expect(
          (await provider.list('merit-test', signal)).filter(({ live }) => live),
          kind,
        ).toEqual([]);
        for (const { key, pool } of attempts) if (pool === kind) expect((await backend.live?.(key)) ?? 0, key).toBe(0);
      }
      // The whole history keeps to quotas and capacities, and Finance has settled what the ledger posted.
      expect(await ledgerLeaks(world.database.db)).toEqual([]);
      expect(world.finance.used(TENANT, 'vision', 'USD')).toBe(await spentCents());
    },
    LIMIT_MS,
  );

  /** The machine of each tenth attempt that runs on a simulator. */
  async function takeBack(taken: Set<string>): Promise<void> {
    const running = await world.database.db.asTenant(TENANT, (tx) =>
      tx.query<{ key: string; pool: string }>(
        "select a.key, a.pool from attempts a join bookings b using (booking_id) where b.state = 'applied' and a.ended_at is null order by a.key",
      ),
    );
    for (const { key, pool: kind } of running) {
      const pool = pools.find((one) => one.kind === kind);
      if (pool === undefined || !SIMULATED.has(kind) || taken.has(key)) continue;
      taken.add(key);
      if (taken.size % TENTH !== 5) continue;
      pool.preempted++;
      await pool.backend.preempt?.(key);
    }
  }

  async function statesOf(ids: readonly string[]): Promise<readonly StateName[]> {
    const rows = await world.database.db.asTenant(TENANT, (tx) =>
      tx.query<{ state: StateName }>('select state from bookings where booking_id = any($1)', [ids]),
    );
    return rows.map(({ state }) => state);
  }

  function attemptsOf(): Promise<readonly { readonly key: string; readonly pool: string }[]> {
    return world.database.db.asTenant(TENANT, (tx) => tx.query('select key, pool from attempts order by key'));
  }

  async function spentCents(): Promise<bigint> {
    const rows = await world.database.db.asTenant(TENANT, (tx) =>
      tx.query<{ spent: bigint }>(
        "select (debits_posted - credits_posted)::bigint as spent from accounts where kind = 'budget'",
      ),
    );
    return rows.reduce((sum, { spent }) => sum + spent, 0n);
  }
});

function bound(of: Provider, name: string | symbol): unknown {
  const value = Reflect.get(of, name) as unknown;
  return typeof value === 'function' ? value.bind(of) : value;
}
