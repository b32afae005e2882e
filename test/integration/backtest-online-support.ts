import { expect } from 'vitest';
import type { Suite } from '../../core/suite.ts';
import type { Backtest } from '../../scoring/backtest/backtest-stream.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { listDecisions } from '../../scoring/read/promotions.ts';
import { leaderboard } from '../../scoring/read/scores.ts';
import { parseModel } from '../../scoring/registry/model-document.ts';
import { addVersion, registerModel } from '../../scoring/registry/models.ts';
import { applySuite } from '../../scoring/registry/suites.ts';
import type { TestDatabase } from '../support/db.ts';
import { type Harness, lineOf, newTenant } from './scoring-online-support.ts';

/** Sends reports in their order through the consumer, each model registered just before its first one: what a backtest assumes. */
export async function replayOnline(
  base: TestDatabase,
  h: Harness,
  tenant: string,
  suite: Suite,
  reports: readonly { readonly model: string }[],
  incumbent?: string,
): Promise<void> {
  const by = await newTenant(base, tenant);
  const entry = { apiVersion: 'merit/v1', kind: 'Model', name: 'any', division: 'vision', suite: suite.name };
  const add = (version: string, seat: boolean) =>
    base.db.asTenant(tenant, (tx) => addVersion(tx, by, { model: 'any', version, seat }));
  await base.db.asTenant(tenant, async (tx) => {
    await applySuite(tx, by, suite);
    await registerModel(tx, by, parseModel(entry));
  });
  const known = new Set<string>();
  if (incumbent !== undefined) {
    known.add(incumbent);
    await add(incumbent, true);
    await h.drain();
  }
  for (let from = 0; from < reports.length; ) {
    const version = reports[from]!.model;
    if (!known.has(version)) await add(version, false);
    known.add(version);
    let to = from + 1;
    while (to < reports.length && known.has(reports[to]!.model)) to++;
    await h.send(tenant, reports.slice(from, to).map(lineOf).join(''));
    await h.drain();
    from = to;
  }
}

/** The same decisions at the same ticks with the same evidence, the same scores, the same counts. */
export async function expectAsOnline(
  base: TestDatabase,
  tenant: string,
  suite: Suite,
  result: Backtest,
): Promise<void> {
  const online = await base.db.asTenant(tenant, async (tx) => ({
    decisions: await listDecisions(tx, tenant, { limit: 500 }),
    checksum: await suiteChecksum(tx, tenant, suite.name),
    board: await leaderboard(tx, tenant, suite.name),
    late: await tx.query<{ late: bigint }>('select sum(late_archived)::bigint as late from input_counters'),
  }));
  const decided = online.decisions.map(({ signed: { record }, review }) => {
    const { tick, model, action, incumbentBefore, evidence } = record;
    return { tick, model, action, incumbentBefore, evidence, reviewed: review !== null };
  });
  const offline = result.decisions.map(({ review, ...decision }) => ({ ...decision, reviewed: review !== undefined }));
  expect(offline).toEqual(decided.sort((a, b) => (a.tick < b.tick ? -1 : 1)));
  expect(result.checksum).toBe(online.checksum);
  const { at, incumbent, accepted, quarantined, duplicates, conflicts } = online.board!;
  const lateArchived = Number(online.late[0]!.late);
  expect(result).toMatchObject({
    lastTick: at,
    incumbent,
    accepted,
    quarantined,
    duplicates,
    conflicts,
    lateArchived,
  });
}
