import { beforeEach, describe, expect, test } from 'vitest';
import { type AttemptSpec, ProviderError } from '../../../providers/provider.ts';
import type { SagaContext } from '../../../scheduler/apply/context.ts';
import type { OwnedAttempt } from '../../../scheduler/reconcile/plan.ts';
import { sweepOnce } from '../../../scheduler/reconcile/sweep.ts';
import { MemoryProvider } from '../../support/memory-provider.ts';

const NOW = Date.UTC(2026, 10, 26);
const DAY = 24 * 3_600_000;
const AWAY = new ProviderError('transient', 'connect ECONNREFUSED');

/** `tenant/pool` → its provider. */
let providers: Map<string, MemoryProvider>;
let owned: readonly OwnedAttempt[];
/** What the desk was asked to do by time. */
let told: Map<string, number>;
let suspects: Map<string, ReadonlySet<string>>;

beforeEach(() => {
  providers = new Map();
  owned = [];
  told = new Map();
  suspects = new Map();
});

function provider(at: string, ...keys: readonly string[]): MemoryProvider {
  const made = new MemoryProvider();
  for (const key of keys) made.jobs.set(key, { spec: { key, tag: 'ours' } as AttemptSpec, state: 'running' });
  providers.set(at, made);
  return made;
}

const context = () =>
  ({
    clock: { now: () => NOW },
    idempotencyRetentionMs: DAY,
    tag: 'ours',
    log: { info: () => {}, warn: () => {}, error: () => {} },
    providers: { of: async (tenant: string, pool: string) => providers.get(`${tenant}/${pool}`) },
    desk: {
      expire: async (nowMs: number) => void told.set('expired', nowMs),
      forgetReplies: async (beforeMs: number) => void told.set('replies before', beforeMs),
      pools: async () => [...providers.keys()].map((at) => ({ tenant: at.split('/')[0], pool: at.split('/')[1] })),
      openAttempts: async () => owned,
    },
  }) as unknown as SagaContext;

const sweep = () => sweepOnce(context(), suspects);

describe('a turn of the reconciler', () => {
  test('gives back what has timed out by now, and forgets replies that are kept no longer', async () => {
    await sweep();
    expect([...told]).toEqual([
      ['expired', NOW],
      ['replies before', NOW - DAY],
    ]);
  });

  test('ends what nobody owns where it was seen so in the turn before, too', async () => {
    const gpus = provider('acme/gpus', 'm-a-1', 'm-b-1');
    owned = [{ key: 'm-a-1', state: 'applied' }];
    await sweep();
    expect(gpus.live).toEqual(['m-a-1', 'm-b-1']);
    await sweep();
    expect(gpus.live).toEqual(['m-a-1']);
  });

  test('that cannot reach a provider still looks at the others, and forgets none of its suspects', async () => {
    const gpus = provider('acme/gpus', 'm-a-1');
    const cpus = provider('acme/cpus', 'm-b-1');
    await sweep();
    gpus.down = AWAY;
    await sweep();
    expect([gpus.live, cpus.live]).toEqual([['m-a-1'], []]);
    gpus.down = undefined;
    await sweep();
    expect(gpus.live).toEqual([]);
  });

  test('takes what one tenant’s pool showed for no sign of another’s that has its name', async () => {
    provider('acme/gpus', 'm-a-1');
    const other = provider('globex/gpus');
    await sweep();
    other.jobs.set('m-a-1', { spec: { key: 'm-a-1', tag: 'ours' } as AttemptSpec, state: 'running' });
    await sweep();
    expect(other.live).toEqual(['m-a-1']);
  });
});
