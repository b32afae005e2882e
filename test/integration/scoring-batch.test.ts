import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Database } from '../../platform/postgres.ts';
import { getRollout, rollBack } from '../../scoring/registry/rollouts.ts';
import type { Requester } from '../../scoring/registry/suites.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import {
  lines,
  MODELS,
  NEXT,
  OLD,
  recompute,
  recomputeContext,
  scoresAfter,
  TICK_MS,
} from './scoring-batch-support.ts';
import { type Harness, harness, newTenant } from './scoring-online-support.ts';
import { beside, panesUnder, registerBoard } from './scoring-rollout-support.ts';

const sent = lines(3_000);
/** Where the new version starts, and where the history is filled in. */
const START = Math.floor(sent.length * 0.75);
const FILL = Math.floor(sent.length * 0.85);
const LINES_PER_MESSAGE = 100;

let base: TestDatabase;
let h: Harness;

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
});
afterAll(() => base.close());

async function tenantWith(tenant: string): Promise<Requester> {
  const by = await newTenant(base, tenant);
  await registerBoard(base.db, by, OLD, MODELS);
  return by;
}

async function read(tenants: readonly string[], from: number, to = sent.length): Promise<void> {
  for (let at = from; at < to; at += LINES_PER_MESSAGE)
    for (const tenant of tenants) await h.send(tenant, sent.slice(at, Math.min(to, at + LINES_PER_MESSAGE)).join(''));
  await h.drain(ctx());
}

/** The consumer leads the seat that it leads in a server. */
const ctx = () => h.context({ epoch: -2n });
const rollout = async (tenant: string) => (await base.db.asTenant(tenant, (tx) => getRollout(tx, tenant, 'board')))!;
const startOf = async (tenant: string) => {
  const rows = await base.db.asEngine((tx) =>
    tx.query<{ judged_after_ms: bigint }>('select judged_after_ms from rollout_states where tenant = $1', [tenant]),
  );
  return Number(rows[0]!.judged_after_ms);
};

describe('a version whose history was recomputed', () => {
  beforeAll(async () => {
    await beside(base.db, await tenantWith('whole'), NEXT);
    const by = await tenantWith('filled');
    await read(['whole', 'filled'], 0, START);
    await beside(base.db, by, NEXT, 40);
    await read(['whole', 'filled'], START, FILL);
    expect(await rollout('filled')).toMatchObject({ complete: false, shareInForce: 0 });
    await recompute(recomputeContext(ctx()), { batchMessages: 3, stretchBytes: 200_000 });
    await read(['whole', 'filled'], FILL);
  }, 120_000);

  test('has the panes and, at every tick, the scores of the same version beside the active one from the first report on', async () => {
    const start = await startOf('filled');
    const scores = await scoresAfter(base.db, 'filled', NEXT, start);
    expect(scores).toEqual(await scoresAfter(base.db, 'whole', NEXT, start));
    expect(scores.length).toBeGreaterThan((10 * TICK_MS) / TICK_MS);
    expect(await panesUnder(base.db, 'filled', NEXT)).toEqual(await panesUnder(base.db, 'whole', NEXT));
  });

  test('is complete at once, and its share in force', async () => {
    expect(await rollout('filled')).toMatchObject({ complete: true, completeFrom: null, shareInForce: 40 });
  });
});
