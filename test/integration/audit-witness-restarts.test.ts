import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { toldAs } from '../../api/cli/exit.ts';
import { openTrailWitness } from '../../api/roles/witness.ts';
import { RefusedInput } from '../../core/refusal.ts';
import { witnessedReader } from '../../ledger/audit/bundle-witness.ts';
import { verifyFile } from '../../ledger/audit/verify.ts';
import { MAX_SILENT, newestWitness, pushWitness } from '../../ledger/audit/witness.ts';
import { type RestartRecord, readWitness, restartName, witnessBytes } from '../../ledger/audit/witness-record.ts';
import { restartWitness } from '../../ledger/audit/witness-restart.ts';
import type { WitnessStore } from '../../platform/witness-store.ts';
import { TENANT } from '../support/audit-story.ts';
import type { Trail } from '../support/trail.ts';
import {
  bundleOf,
  dir,
  failing,
  putUnder,
  rootsOf,
  start,
  store,
  trail,
  witnessAt,
  witnessed,
} from '../support/witness-scene.ts';

const check = async (of: Trail) => {
  const roots = await rootsOf(of);
  return verifyFile(Buffer.from(await bundleOf(of)), roots, { witnessed: await witnessed(roots) });
};
const recordOf = async (generation: number) => {
  const record = readWitness((await store.read(restartName(generation)))!);
  if (record?.kind !== 'restart') throw new Error(`generation ${generation} has no restart`);
  return record;
};
const restartOf = async (generation: number) => (await recordOf(generation)).restart;

describe('a database that was put back to an earlier time', () => {
  test('goes on once that is said: the restart stands in the trail and with the witness, and what was lost stays told', async () => {
    const [lost, restored] = [await trail(), await trail()];
    for (let i = 0; i < 3; i++) {
      await lost.seal(3);
      await pushWitness(lost.db, store);
    }
    await restored.seal(3);
    const { loops } = await start(restored, 'the disk broke; back to the backup of noon');
    expect(loops).toHaveLength(1);
    expect(await newestWitness(store)).toMatchObject({
      kind: 'restart',
      generation: 2,
      restart: {
        abandoned: { generation: 1, treeSize: 9 },
        treeSize: 3,
        reason: expect.stringContaining('backup of noon'),
      },
    });
    // Of its second generation it sees nothing before the trail tells of the restart.
    expect(await pushWitness(restored.db, store)).toMatchObject({ pushed: false });
    await restored.seal(2);
    expect(await pushWitness(restored.db, store)).toMatchObject({
      pushed: true,
      record: { generation: 2, previous: 0 },
    });
    await restored.seal(2);
    await pushWitness(restored.db, store);
    await start(restored);

    const roots = await rootsOf(restored);
    const beside = { witnessed: await witnessed(roots) };
    expect(beside.witnessed).toMatchObject({ generation: 2, size: 8 });
    const bundle = await bundleOf(restored);
    expect(bundle).toContain('witness.restarted');
    expect(verifyFile(Buffer.from(bundle), roots, beside)).toMatchObject({ code: 0, findings: [] });
    // What was lost is no longer the trail, and the database that has it still does not start.
    expect(verifyFile(Buffer.from(await bundleOf(lost)), await rootsOf(lost), beside).code).toBe(10);
    expect(toldAs(await failing(start(lost)))).toMatchObject({ exitCode: 12 });
  });

  test('goes on at once, however much its witness has seen: of what that holds the newest record alone is read', async () => {
    const [lost, restored] = [await trail(), await trail()];
    for (let i = 0; i < 5; i++) {
      await lost.seal();
      await pushWitness(lost.db, store);
    }
    await restored.seal(2);
    const read: string[] = [];
    const counted: WitnessStore = {
      ...store,
      entries: async function* () {
        for await (const entry of store.entries()) {
          read.push(entry.name);
          yield entry;
        }
      },
    };
    const by = { tenant: TENANT, actor: 'ann', traceId: '', nowMs: restored.clock.now(), reason: 'the disk broke' };
    expect(await restartWitness(restored.db, counted, by)).toBe(true);
    expect(new Set(read).size).toBe(1);
    expect(await restartOf(2)).toMatchObject({ abandoned: { generation: 1, treeSize: 15 } });
  });

  /** The trail of so many events that goes on after the one that the witness has seen was lost; it seals the restart. */
  async function putBack(size: number, reason: string): Promise<Trail> {
    const restored = await trail();
    await restored.seal(size);
    await start(restored, reason);
    await restored.seal(2);
    await pushWitness(restored.db, store);
    return restored;
  }
  async function seenFull(): Promise<void> {
    const full = await trail();
    await full.seal(12);
    await pushWitness(full.db, store);
  }
  /** The same witness, with other words in one of its restarts. */
  async function retold(generation: number, over: Partial<RestartRecord['restart']>): Promise<void> {
    const record = await recordOf(generation);
    const entries = await Array.fromAsync(store.entries());
    await witnessAt(await mkdtemp(join(dir, 'retold-')));
    const changed = { ...record, restart: { ...record.restart, ...over } };
    for (const { name, bytes } of entries)
      await store.put(name, name === restartName(generation) ? witnessBytes(changed) : bytes);
  }

  test.each([
    ['each time to before the restart of the time before', [6, 4, 2]],
    ['to a fuller copy, from before all restarts', [3, 5, 7]],
    ['to a shorter one, and then to a fuller one', [6, 2, 4]],
  ])(
    'again and again, %s: what each lost is told by the next, and the chain holds',
    async (_what, [first, second, third]) => {
      await seenFull();
      const one = await putBack(first!, 'the disk broke');
      expect(await check(one)).toMatchObject({ code: 0, findings: [] });
      expect((await check(one)).summary).not.toHaveProperty('lostRestarts');
      await putBack(second!, 'it broke again');
      const last = await putBack(third!, 'and again');
      expect(await check(last)).toMatchObject({ code: 0, findings: [], summary: { lostRestarts: [2, 3] } });
      expect((await restartOf(2)).untold).toEqual([]);
      expect(await restartOf(4)).toMatchObject({ untold: [2, 3], reason: 'and again' });
      expect(await bundleOf(last)).toContain('"untold":[2,3]');
      // It goes on so: the server starts, and of the trails that were left none does, nor holds as a chain.
      await start(last);
      expect(toldAs(await failing(start(one)))).toMatchObject({ exitCode: 12 });
      expect((await check(one)).code).not.toBe(0);
    },
  );

  test('a restart whose event is gone, though no later one lost it, is told: 10 for the chain, 12 at the start', async () => {
    await seenFull();
    await putBack(6, 'the disk broke');
    const last = await putBack(4, 'it broke again');
    // The later restart had the event of the earlier: whoever took it out of the trail since cannot say that it was lost.
    await retold(3, { untold: [] });
    expect(await check(last)).toMatchObject({
      code: 10,
      findings: [{ kind: 'tampered', problem: expect.stringContaining('generation 2 began, that no event tells of') }],
    });
    const error = await failing(start(last));
    expect(toldAs(error)).toMatchObject({ exitCode: 12, mend: expect.stringContaining('--restart-witness') });
    expect(String(error)).toContain('generation 2 began');
    // Said once more, it stands with the witness for good who said so and why.
    await start(last, 'the event of the first restart was lost in 2026');
    await last.seal(1);
    await pushWitness(last.db, store);
    await start(last);
    expect(await check(last)).toMatchObject({ code: 0, summary: { lostRestarts: [2] } });
    expect(await restartOf(4)).toMatchObject({ untold: [2], reason: expect.stringContaining('in 2026') });
  });

  test('by an earlier build, whose restarts do not say what they lost, goes by how large the trail was', async () => {
    await seenFull();
    await putBack(6, 'the disk broke');
    const shorter = await putBack(4, 'it broke again');
    await retold(3, { untold: undefined });
    expect(await check(shorter)).toMatchObject({ code: 0, summary: { lostRestarts: [2] } });
    await start(shorter);
    // Of one that was larger nobody knows whether it had the event.
    await retold(3, { untold: undefined, treeSize: 7 });
    expect(await check(shorter)).toMatchObject({ code: 10 });
    expect(toldAs(await failing(start(shorter)))).toMatchObject({ exitCode: 12 });
  });

  test('the newest restart is told by the trail, or the chain does not hold', async () => {
    await seenFull();
    const first = await putBack(6, 'the disk broke');
    const second = await trail();
    await second.seal(4);
    const by = { tenant: TENANT, actor: 'test', traceId: '', nowMs: Date.now(), reason: 'it broke again' };
    expect(await restartWitness(second.db, store, by)).toBe(true);
    expect(await check(first)).toMatchObject({
      code: 10,
      findings: [{ problem: expect.stringContaining('generation 3 began') }],
    });
  });

  test('a record that tells of itself, a later one, the first or one twice as lost is none', async () => {
    await seenFull();
    await putBack(6, 'the disk broke');
    await putBack(4, 'it broke again');
    const text = Buffer.from((await store.read(restartName(3)))!).toString();
    expect(readWitness(Buffer.from(text))).toMatchObject({ restart: { untold: [2] } });
    for (const untold of [[3], [4], [1], [2, 2], 2, ['2'], null]) {
      const other = text.replace('"untold":[2]', `"untold":${JSON.stringify(untold)}`);
      expect([untold, readWitness(Buffer.from(other))]).toEqual([untold, undefined]);
    }
  });

  test('is not said for nothing: a restart of a trail that holds, or without a witness, is refused', async () => {
    const own = await trail();
    await own.seal();
    await pushWitness(own.db, store);
    const error = await failing(start(own, 'by habit'));
    expect(error).toBeInstanceOf(RefusedInput);
    expect(String(error)).toContain('--restart-witness');
    expect(await newestWitness(store)).toMatchObject({ generation: 1 });
    const none = { db: own.db, clock: own.clock, config: undefined, tenant: TENANT, restart: 'by habit' };
    expect(await failing(openTrailWitness({ ...none, watch: { lag: () => {}, failed: () => {} } }))).toBeInstanceOf(
      RefusedInput,
    );
  });
});

describe('a generation that was put there without a record by which it begins', () => {
  const eventsOf = ({ db }: Trail) =>
    db.asEngine((tx) => tx.query("select 1 from audit_events where type = 'witness.restarted'"));

  /** As the documents have it: the chain against what was there before the second generation. */
  async function checkBefore(of: Trail): Promise<number> {
    const roots = await rootsOf(of);
    const reader = witnessedReader(roots);
    for await (const { bytes } of store.entries())
      if (!Buffer.from(bytes).toString().startsWith('{"format":"merit-witness/1","generation":2,')) reader.push(bytes);
    return verifyFile(Buffer.from(await bundleOf(of)), roots, { witnessed: reader.end() }).code;
  }

  test('keeps a server from starting, which says whether anything is lost and how it goes on; a restart leaves it behind', async () => {
    const [own, forged] = [await trail(), await trail('another word')];
    await own.seal(9);
    await pushWitness(own.db, store);
    await forged.seal(5);
    await putUnder(2, forged);
    expect(toldAs(await failing(start(own)))).toMatchObject({
      exitCode: 12,
      problem: expect.stringMatching(/generation 2 begins without a record.*of 9 events holds all 9 that generation 1/),
      mend: expect.stringMatching(/somebody else wrote there.*--restart-witness/),
    });
    expect(await checkBefore(own)).toBe(0);
    await start(own, 'a guest of the bucket wrote there');
    expect(await restartOf(2)).toMatchObject({ abandoned: { generation: 1, treeSize: 9 }, treeSize: 9 });
    expect(await restartOf(3)).toMatchObject({ abandoned: { generation: 2, treeSize: 5 }, treeSize: 9 });
    await own.seal(1);
    expect(await pushWitness(own.db, store)).toMatchObject({ pushed: true, record: { generation: 3 } });
    await start(own);
    expect(await check(own)).toMatchObject({ code: 0, findings: [] });
    expect(await bundleOf(own)).toContain('"found":"of its witness generation 2 begins without a record');
    // Nobody believes what stood in it.
    expect(toldAs(await failing(start(forged)))).toMatchObject({ exitCode: 12 });
    expect((await check(forged)).code).toBe(12);
  });

  test('hides no trail that was cut: what is lost is told before, and stands in the restart for good', async () => {
    const [lost, cut] = [await trail(), await trail()];
    for (const count of [3, 6]) {
      await lost.seal(count);
      await pushWitness(lost.db, store);
    }
    await cut.seal(3);
    await putUnder(2, cut);
    expect(toldAs(await failing(start(cut)))).toMatchObject({
      exitCode: 12,
      problem: expect.stringMatching(/of generation 1, .* it holds 3 events, and the witness has seen 9/),
    });
    expect(await checkBefore(cut)).toBe(12);
    await start(cut, 'the disk broke');
    expect(await restartOf(2)).toMatchObject({ abandoned: { generation: 1, treeSize: 9 }, treeSize: 3 });
    await cut.seal(1);
    await pushWitness(cut.db, store);
    expect(await check(cut)).toMatchObject({ code: 0 });
    expect(await bundleOf(cut)).toContain('it holds 3 events, and the witness has seen 9');
    expect(toldAs(await failing(start(lost)))).toMatchObject({ exitCode: 12 });
  });

  test('is one of several: each gets a record; where too many were made up, another place is asked for and nothing is written', async () => {
    const [own, forged] = [await trail(), await trail('another word')];
    await own.seal(9);
    await pushWitness(own.db, store);
    await forged.seal(2);
    await putUnder(4, forged);
    await start(own, 'a guest wrote there');
    expect(await eventsOf(own)).toHaveLength(4);
    await own.seal(1);
    await pushWitness(own.db, store);
    await start(own);
    expect(await check(own)).toMatchObject({ code: 0 });
    for (const generation of [5 + MAX_SILENT + 1, 999_999]) {
      await putUnder(generation, forged);
      expect(await failing(start(own, 'again'))).toMatchObject({
        code: 'witness',
        mend: expect.stringContaining('name another place'),
      });
      expect(await eventsOf(own)).toHaveLength(4);
    }
  });

  test('begins by no copy of another generation’s record', async () => {
    const [lost, own] = [await trail(), await trail()];
    await lost.seal(9);
    await pushWitness(lost.db, store);
    await own.seal(3);
    await start(own, 'the disk broke');
    await own.seal(1);
    await pushWitness(own.db, store);
    await store.put(restartName(3), (await store.read(restartName(2)))!);
    await putUnder(3, own);
    expect(toldAs(await failing(start(own)))).toMatchObject({
      problem: expect.stringContaining(`${restartName(3)} is no record of Merit`),
      mend: expect.stringContaining('name a place that only Merit writes to'),
    });
  });
});
