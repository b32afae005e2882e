import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { toldAs } from '../../api/cli/exit.ts';
import { openTrailWitness } from '../../api/roles/witness.ts';
import { RefusedInput } from '../../core/refusal.ts';
import { witnessedReader } from '../../ledger/audit/bundle-witness.ts';
import { exportBundle } from '../../ledger/audit/export.ts';
import { trailRoots } from '../../ledger/audit/key-history.sql.ts';
import { type Roots, rootsText } from '../../ledger/audit/roots.ts';
import { latestNote } from '../../ledger/audit/sequencer.ts';
import { verifyFile } from '../../ledger/audit/verify.ts';
import { checkTrail, MAX_SILENT, newestWitness, pushWitness, witnessLag } from '../../ledger/audit/witness.ts';
import { runWitness } from '../../ledger/audit/witness-loop.ts';
import {
  type RestartRecord,
  readWitness,
  restartName,
  witnessBytes,
  witnessName,
} from '../../ledger/audit/witness-record.ts';
import { restartWitness } from '../../ledger/audit/witness-restart.ts';
import { openFileWitness } from '../../platform/witness-files.ts';
import type { WitnessStore } from '../../platform/witness-store.ts';
import { TENANT, testSigner } from '../support/audit-story.ts';
import { runCli } from '../support/cli.ts';
import { newTrail, type Trail } from '../support/trail.ts';

let dir: string;
let store: WitnessStore;
let trails: Trail[];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'merit-witness-'));
  store = await openFileWitness({ dir });
  trails = [];
});
afterEach(async () => {
  for (const { own } of trails) await own.close();
  await rm(dir, { recursive: true });
});

const signer = testSigner();
async function trail(word?: string): Promise<Trail> {
  const made = await newTrail(signer, word);
  trails.push(made);
  return made;
}
const rootsOf = ({ db }: Trail): Promise<Roots> => db.asEngine(trailRoots);
const bundleOf = async ({ db }: Trail) => (await Array.fromAsync(exportBundle(db))).join('');
async function witnessed(roots: Roots) {
  const reader = witnessedReader(roots);
  for await (const { bytes } of store.entries()) expect(reader.push(bytes)).toBeUndefined();
  return reader.end();
}
const start = ({ db, clock }: Trail, restart?: string) =>
  openTrailWitness({
    db,
    clock,
    config: { place: { kind: 'files', dir }, everyMs: 60_000 },
    tenant: TENANT,
    restart,
    watch: { lag: () => {}, failed: () => {} },
  });
const failing = (work: Promise<unknown>) => work.then(() => undefined).catch((error: unknown) => error);

describe('the witness', () => {
  test('sees the newest checkpoint, each with the proof that it goes on from the one before, the newest first', async () => {
    const own = await trail();
    expect(await pushWitness(own.db, store)).toMatchObject({ pushed: false, record: undefined });
    const sizes: number[] = [];
    for (const count of [3, 5, 300, 1]) {
      await own.seal(count);
      const { pushed, record } = await pushWitness(own.db, store);
      expect(pushed).toBe(true);
      if (record?.kind !== 'checkpoint') throw new Error('a checkpoint');
      expect(record.previous).toBe(sizes.at(-1) ?? 0);
      sizes.push(record.checkpoint.treeSize);
    }
    expect(await pushWitness(own.db, store)).toMatchObject({ pushed: false });
    const newest = await newestWitness(store);
    expect(newest).toMatchObject({ generation: 1, checkpoint: { treeSize: 309 } });
    const roots = await rootsOf(own);
    expect([...(await witnessed(roots)).roots.keys()]).toEqual([309, 308, 8, 3]);
    expect(await checkTrail(own.db, store)).toMatchObject({ kind: 'holds', witnessed: 309, size: 309 });
  });

  test('is told how far it is behind, and goes on by itself when it was away', async () => {
    const own = await trail();
    await own.seal();
    let away = true;
    const failed: string[] = [];
    const lags: number[] = [];
    const stop = new AbortController();
    const loop = runWitness(
      {
        db: own.db,
        store: { ...store, put: (name, bytes) => (away ? Promise.reject(new Error('away')) : store.put(name, bytes)) },
        clock: own.clock,
        everyMs: 1,
        watch: {
          lag: ({ events }) => lags.push(events),
          failed: (code) => {
            if (failed.push(code) === 3) away = false;
          },
        },
      },
      stop.signal,
    );
    await expect.poll(() => lags.at(-1)).toBe(0);
    stop.abort();
    await loop;
    expect(failed).toEqual(['other', 'other', 'other']);
    expect(lags.slice(0, 3)).toEqual([3, 3, 3]);
    await own.seal();
    const lag = await own.db.asEngine(async (tx) => witnessLag(tx, await newestWitness(store), Date.now() + 60_000));
    expect(lag.events).toBe(3);
    expect(lag.seconds).toBeGreaterThanOrEqual(59);
  });

  test('goes on from what another process copied meanwhile', async () => {
    const own = await trail();
    await own.seal(3);
    const { record: known } = await pushWitness(own.db, store);
    await own.seal(5);
    await pushWitness(own.db, store);
    await own.seal(2);
    expect(await pushWitness(own.db, store, known)).toMatchObject({ pushed: true, record: { previous: 8 } });
  });

  test('whose records are no longer ours says which one', async () => {
    const own = await trail();
    await own.seal();
    await pushWitness(own.db, store);
    await writeFile(join(dir, 'a-note-of-mine'), 'x');
    expect(await failing(checkTrail(own.db, store))).toMatchObject({
      code: 'witness',
      message: expect.stringContaining('a-note-of-mine'),
    });
  });
});

describe('a server does not start', () => {
  test('on a trail that is shorter than its witness: exit 12, with the way out', async () => {
    const [full, restored] = [await trail(), await trail()];
    await full.seal(9);
    await pushWitness(full.db, store);
    for (const count of [0, 5]) {
      if (count > 0) await restored.seal(count);
      const error = await failing(start(restored));
      expect(error).toMatchObject({
        code: 'witness',
        retry: 'never',
        mend: expect.stringContaining('--restart-witness'),
      });
      expect(toldAs(error)).toMatchObject({
        exitCode: 12,
        problem: expect.stringMatching(/holds [05] events.*has seen 9/),
      });
    }
    await start(full);
  });

  test('on another trail of the same length, or longer: exit 12', async () => {
    const [full, forged] = [await trail(), await trail('forged')];
    await full.seal(9);
    await pushWitness(full.db, store);
    for (const count of [9, 3]) {
      await forged.seal(count);
      expect(toldAs(await failing(start(forged)))).toMatchObject({
        exitCode: 12,
        problem: expect.stringContaining('are not those that the witness has seen'),
      });
    }
    // Nor does one that runs already copy such a trail.
    expect(await failing(pushWitness(forged.db, store))).toMatchObject({ code: 'witness' });
    expect(await newestWitness(store)).toMatchObject({ checkpoint: { treeSize: 9 } });
  });

  test('on a trail of the same events under a key that this installation never had', async () => {
    const own = await trail();
    const stranger = await newTrail(testSigner());
    trails.push(stranger);
    await own.seal(4);
    await stranger.seal(4);
    await pushWitness(stranger.db, store);
    expect(await checkTrail(own.db, store)).toMatchObject({
      kind: 'inconsistent',
      problem: expect.stringContaining('not pinned'),
    });
  });

  test('on another trail for which a generation was put there that no restart began, and no check of its records takes it', async () => {
    const [own, forged] = [await trail(), await trail('another word')];
    await own.seal(9);
    await pushWitness(own.db, store);
    await forged.seal(5);
    const note = (await forged.db.asEngine(latestNote))!;
    const { note: text, ...checkpoint } = note;
    const record = { kind: 'checkpoint', generation: 2, note: text, checkpoint, previous: 0, proof: [] } as const;
    await store.put(witnessName(record), witnessBytes(record));
    expect(await newestWitness(store)).toMatchObject({ generation: 2 });
    for (const one of [own, forged])
      expect(toldAs(await failing(start(one)))).toMatchObject({
        exitCode: 12,
        problem: expect.stringContaining('generation 2 begins without a record that says why'),
      });
    const seen = await witnessed(await rootsOf(forged));
    expect(seen.problem).toContain('generation 2 begins');
    const result = verifyFile(Buffer.from(await bundleOf(forged)), await rootsOf(forged), { witnessed: seen });
    expect(result).toMatchObject({ code: 10, findings: [{ problem: expect.stringContaining('generation 2 begins') }] });
  });
});

test('a server starts where there is no witness yet, and without one configured', async () => {
  const own = await trail();
  await own.seal();
  expect((await start(own)).loops).toHaveLength(1);
  const none = { db: own.db, clock: own.clock, config: undefined, tenant: TENANT, restart: undefined };
  expect(await openTrailWitness({ ...none, watch: { lag: () => {}, failed: () => {} } })).toEqual({
    store: undefined,
    loops: [],
  });
});

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
  const check = async (of: Trail) => {
    const roots = await rootsOf(of);
    return verifyFile(Buffer.from(await bundleOf(of)), roots, { witnessed: await witnessed(roots) });
  };
  const recordOf = async (generation: number) => {
    const record = readWitness((await store.read(restartName(generation)))!);
    if (record?.kind !== 'restart') throw new Error(`generation ${generation} has no restart`);
    return record;
  };
  /** The same witness, with other words in one of its restarts. */
  async function retold(generation: number, over: Partial<RestartRecord['restart']>): Promise<void> {
    const record = await recordOf(generation);
    const entries = await Array.fromAsync(store.entries());
    dir = join(dir, `retold-${generation}`);
    store = await openFileWitness({ dir });
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
      expect((await recordOf(2)).restart.untold).toEqual([]);
      expect((await recordOf(4)).restart).toMatchObject({ untold: [2, 3], reason: 'and again' });
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
    expect((await recordOf(4)).restart).toMatchObject({ untold: [2], reason: expect.stringContaining('in 2026') });
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
  const check = async (of: Trail) => {
    const roots = await rootsOf(of);
    return verifyFile(Buffer.from(await bundleOf(of)), roots, { witnessed: await witnessed(roots) });
  };
  const restartOf = async (generation: number) => {
    const record = readWitness((await store.read(restartName(generation)))!);
    return record?.kind === 'restart' ? record.restart : undefined;
  };
  /** The newest checkpoint of a trail, as if a generation had begun with it. */
  async function putUnder(generation: number, of: Trail): Promise<void> {
    const { note, ...checkpoint } = (await of.db.asEngine(latestNote))!;
    const record = { kind: 'checkpoint', generation, note, checkpoint, previous: 0, proof: [] } as const;
    await store.put(witnessName(record), witnessBytes(record));
  }
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

describe('a chain that is held against a witness', () => {
  test('is 12 where it is whole and shorter, 10 where it is another one, 0 where it goes on', async () => {
    const [own, other] = [await trail(), await trail('other')];
    const roots = await rootsOf(own);
    await own.seal(4);
    const early = await bundleOf(own);
    await pushWitness(own.db, store);
    await own.seal(4);
    const middle = await bundleOf(own);
    await pushWitness(own.db, store);
    await own.seal(4);
    const beside = { witnessed: await witnessed(roots) };
    const check = (text: string) => verifyFile(Buffer.from(text), roots, beside);
    expect(check(early)).toMatchObject({
      code: 12,
      findings: [{ kind: 'shorter', problem: 'has seen 8 events, and these are 4' }],
    });
    expect(check(middle).code).toBe(0);
    expect(check(await bundleOf(own)).code).toBe(0);
    expect(check(early.slice(0, -9)).code).toBe(11);
    await other.seal(12);
    expect(check(await bundleOf(other))).toMatchObject({ code: 10 });
  });

  test('is held against records that are signed by a pinned key only', async () => {
    const own = await trail();
    await own.seal();
    await pushWitness(own.db, store);
    const reader = witnessedReader({ keys: new Map() });
    for await (const { bytes } of store.entries()) expect(reader.push(bytes)).toContain('not pinned');
    expect(reader.push(Buffer.from('{}\n'))).toBe('is no record of a witness');
  });
});

describe('whoever may read the place needs no server', () => {
  const merit = (...args: string[]) => runCli(dir, ['audit', ...args]);
  const told = async (...more: string[]) => {
    const { code, out } = await merit('witness', '--from', place, '-o', 'json', ...more);
    return { code, ...JSON.parse(out) };
  };
  let place: string;
  beforeEach(async () => {
    place = join(dir, 'seen');
    store = await openFileWitness({ dir: place });
  });
  const write = async (name: string, text: string) => {
    await writeFile(join(dir, name), text);
    return join(dir, name);
  };

  test('to check its records, and a chain against them', async () => {
    const own = await trail();
    const chains: string[] = [];
    for (let i = 0; i < 2; i++) {
      await own.seal(4);
      await pushWitness(own.db, store);
      chains.push(await write(`chain-${i}.jsonl`, await bundleOf(own)));
    }
    const roots = await write('roots.json', rootsText([...(await rootsOf(own)).keys.values()]));
    const records = join(dir, 'records.jsonl');
    const seen = { code: 0, records: 2, generation: 1, witnessed: 8, problem: null };
    expect(await told('--roots', roots, '--out', records)).toMatchObject(seen);
    const codes = chains.map((chain) => merit('verify', chain, '--roots', roots, '--witness', records));
    expect((await Promise.all(codes)).map(({ code }) => code)).toEqual([12, 0]);
  });

  test('to find a record that does not go on from the one before it', async () => {
    const [own, forged] = [await trail(), await trail('forged')];
    await own.seal(4);
    await pushWitness(own.db, store);
    await forged.seal(6);
    const { note, ...checkpoint } = (await forged.db.asEngine(latestNote))!;
    const record = { kind: 'checkpoint', generation: 1, note, checkpoint, previous: 4, proof: [] } as const;
    await store.put(witnessName(record), witnessBytes(record));
    expect(await told()).toMatchObject({ code: 10, problem: expect.stringContaining('goes on from') });
  });

  test('but the right name of it: what is no place is told with how one is written', async () => {
    for (const [wrong, said] of [
      ['s3://No_Bucket/prod', 'write s3://bucket/prefix'],
      ['nowhere', 'is no folder'],
    ] as const) {
      const { code, err } = await merit('witness', '--from', wrong);
      expect({ code, err }).toEqual({ code: 3, err: expect.stringContaining(said) });
    }
  });

  test('to see that after a restart nothing is witnessed yet', async () => {
    const [lost, restored] = [await trail(), await trail()];
    await lost.seal(9);
    await pushWitness(lost.db, store);
    await restored.seal(3);
    const by = { tenant: TENANT, actor: 'test', traceId: '', nowMs: Date.now(), reason: 'a backup' };
    expect(await restartWitness(restored.db, store, by)).toBe(true);
    expect(await told()).toMatchObject({ code: 0, records: 2, generation: 2, witnessed: 0, at: null });
  });
});
