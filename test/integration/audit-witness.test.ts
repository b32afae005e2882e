import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { toldAs } from '../../api/cli/exit.ts';
import { openTrailWitness } from '../../api/roles/witness.ts';
import { witnessedReader } from '../../ledger/audit/bundle-witness.ts';
import { rootsText } from '../../ledger/audit/roots.ts';
import { latestNote } from '../../ledger/audit/sequencer.ts';
import { verifyFile } from '../../ledger/audit/verify.ts';
import { checkTrail, newestWitness, pushWitness, witnessLag } from '../../ledger/audit/witness.ts';
import { runWitness } from '../../ledger/audit/witness-loop.ts';
import { witnessBytes, witnessName } from '../../ledger/audit/witness-record.ts';
import { restartWitness } from '../../ledger/audit/witness-restart.ts';
import { TENANT, testSigner } from '../support/audit-story.ts';
import { runCli } from '../support/cli.ts';
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
    const stranger = await trail(undefined, testSigner());
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
    await putUnder(2, forged);
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
    await witnessAt(place);
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
